"""A mixture of workloads, each a request class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from llmbench import plugins
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import ConstraintKind, Request
from llmbench.scenario.rng import drawn, stream
from llmbench.scenario.route import Route
from llmbench.scenario.schema import AnyPart
from llmbench.workloads.base import WORKLOADS, Workload


class RequestClass(Route):
    """A request class: its workload, its relative frequency, and the target of its requests."""

    model_config = ConfigDict(defer_build=True)

    share: float = Field(default=1.0, gt=0, description="relative frequency of the class")
    workload: Annotated[Any, AnyPart("workload", excluded="mixed")] = Field(
        description="workload of the class"
    )


class Mixed(Workload):
    """A mixture of workloads, each a request class with its own objectives.

    Classes are drawn in proportion to their shares. `slo: {chat.ttft_p99: 300 ms}` applies only to
    the class chat. For endpoints, a class may have its own model, URL, headers and fields.
    """

    class Options(plugins.Options):
        """``{kind: mixed, classes: {chat: {share: 3, workload: prompts}, batch: {...}}}``."""

        model_config = ConfigDict(defer_build=True)

        classes: dict[str, RequestClass] = Field(
            min_length=1, description="request classes by name"
        )

    options: Options

    @property
    def classes(self) -> set[str]:
        """The names of the request classes."""
        return set(self.options.classes)

    @property
    def has_jobs(self) -> bool:
        """Whether a class has jobs of agents."""
        return any(part.has_jobs for part in self._parts.values())

    @property
    def constraints(self) -> set[ConstraintKind]:
        """The kinds of forms that the requests of any class ask of their answers."""
        return {kind for part in self._parts.values() for kind in part.constraints}

    @property
    def routes(self) -> dict[str, Route]:
        """The classes whose requests have something of their own."""
        return {name: kind for name, kind in self.options.classes.items() if kind.given}

    def check(self) -> None:
        """Raise InputError when a file of one of the workloads cannot be read."""
        for part in self._parts.values():
            part.check()

    def caveats(self) -> tuple[Caveat, ...]:
        """Return the caveats of all workloads."""
        return tuple(caveat for part in self._parts.values() for caveat in part.caveats())

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests of randomly drawn classes, until the workload of one class ends."""
        own = self.contents.seed
        parts, models = {}, {}
        for name, part in self._parts.items():
            contents_seed = None if own is None else _seed_of(name, own)
            part.contents = replace(self.contents, seed=contents_seed)
            parts[name] = part.requests(tokenizer, _seed_of(name, seed))
            models[name] = self.options.classes[name].models(stream(_seed_of(name, seed), "models"))
        for index, name in enumerate(self._names(seed)):
            request = next(parts[name], None)
            if request is None:
                return
            yield replace(request, id=index, request_class=name, model=next(models[name]))

    def sequence_lengths(self, seed: int) -> Iterator[int]:
        """Yield the tokens of each request's longest sequence; 0 where its workload knows none."""
        lengths = {
            name: part.sequence_lengths(_seed_of(name, seed)) for name, part in self._parts.items()
        }
        return (next(lengths[name], 0) for name in self._names(seed))

    def _names(self, seed: int) -> Iterator[str]:
        """Yield the class of each request, endlessly."""
        classes = self.options.classes
        shares = [kind.share for kind in classes.values()]
        return drawn(list(classes), shares, stream(seed, "classes"))

    @cached_property
    def _parts(self) -> dict[str, Workload]:
        classes = self.options.classes
        return {name: WORKLOADS.part(each.workload) for name, each in classes.items()}


def _seed_of(name: str, seed: int) -> int:
    """Return the random seed of a class, which does not depend on the other classes."""
    return int(stream(seed, f"class {name}").integers(2**32))
