"""What the requests of a class have of their own: model, URL, headers, and fields of the body."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from llmbench import plugins
from llmbench.scenario.http_fields import Body, Headers, Url
from llmbench.scenario.rng import drawn

# fields of a request that have options of their own, or cannot differ between requests
OTHER_FIELDS = ("model", "stream", "stream_options", "messages", "prompt", "priority")


def _different(names: list[str]) -> list[str]:
    if repeated := [name for index, name in enumerate(names) if name in names[:index]]:
        raise ValueError(f"{repeated[0]!r:.80} is listed twice; remove one of them")
    return names


Name = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_different)]


class _Zipf(plugins.Options):
    s: float = Field(ge=0, le=100, description="exponent; 0: all names are equally frequent")
    of: Names = Field(description="names, from the most to the least frequent")


def _zipf(value: Any) -> Any:
    if not isinstance(value, dict | _Zipf):
        message = "expected an exponent and names: {s: 1.1, of: [a, b]}"
        raise ValueError(message)  # noqa: TRY004 (pydantic reports it)
    return value


class Models(plugins.Options):
    """The model that each request of a class names, such as a LoRA adapter.

    ``llama`` · ``{uniform: [a, b, c]}`` · ``{zipf: {s: 1.1, of: [a, b, c]}}``, where name number k
    has a probability in proportion to k^(−s).
    """

    fixed: Name | None = Field(default=None, description="model of all requests of the class")
    uniform: Names | None = Field(default=None, description="models, drawn with equal probability")
    zipf: Annotated[_Zipf | None, BeforeValidator(_zipf)] = Field(
        default=None, description="models, drawn with Zipf's law: number k in proportion to k^(−s)"
    )

    @model_validator(mode="after")
    def _is_one_distribution(self) -> Models:
        kinds = ("fixed", "uniform", "zipf")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(kinds)}, got {given or 'none'}")
        return self

    @property
    def names(self) -> list[str]:
        """The names of all models that may be drawn."""
        if self.zipf:
            return self.zipf.of
        return self.uniform or [self.fixed or ""]

    def stream(self, rng: np.random.Generator) -> Iterator[str]:
        """Yield the model of each request, endlessly."""
        exponent = self.zipf.s if self.zipf else 0.0
        ranks = range(1, len(self.names) + 1)
        return drawn(self.names, [rank**-exponent for rank in ranks], rng)


def _from_shorthand(value: Any) -> Any:
    if isinstance(value, str):
        return {"fixed": value}
    if not isinstance(value, dict | Models):
        message = "expected a name, {uniform: [a, b]} or {zipf: {s: 1.1, of: [a, b]}}"
        raise ValueError(message)  # noqa: TRY004 (pydantic reports it)
    return value


ModelNames = Annotated[Models, BeforeValidator(_from_shorthand)]


def _own_fields(body: dict[str, Any]) -> dict[str, Any]:
    for name in OTHER_FIELDS:
        if name in body:
            raise ValueError(
                f"`{name}` cannot be set here; remove it"
                + (f", and set `{name}` of the class" if name in ("model", "priority") else "")
            )
    return body


class Route(plugins.Options):
    """What the requests of a class have of their own, which only a server can honor."""

    model: ModelNames | None = Field(
        default=None,
        description="model that its requests name, or models drawn at random, such as LoRA adapters"
        " (endpoints only)",
    )
    url: Url | None = Field(
        default=None, description="URL that its requests are sent to (endpoints only)"
    )
    headers: Headers = Field(
        default_factory=dict,
        description="extra HTTP headers; ${NAME} is an environment variable (endpoints only)",
    )
    body: Annotated[Body, AfterValidator(_own_fields)] = Field(
        default_factory=dict,
        description="extra fields of the request body; null removes a field (endpoints only)",
    )
    priority: int | None = Field(
        default=None,
        ge=-(2**31),
        lt=2**31,
        description="value of the field `priority`; its meaning is the server's (endpoints only)",
    )

    @property
    def given(self) -> list[str]:
        """The keys that are set."""
        keys = ("model", "url", "headers", "body", "priority")
        return [key for key in keys if getattr(self, key) not in (None, {})]

    @property
    def fields(self) -> dict[str, Any]:
        """The extra fields of the request body, with the priority."""
        own = {} if self.priority is None else {"priority": self.priority}
        return {**self.body, **own}

    def models(self, rng: np.random.Generator) -> Iterator[str | None]:
        """Yield the model that each request names, endlessly; None: it names none of its own."""
        return self.model.stream(rng) if self.model else repeat(None)
