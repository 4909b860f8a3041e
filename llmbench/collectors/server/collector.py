"""The collector of what an inference server publishes about itself."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from llmbench.collectors.base import Access, Collector, CollectorOptions, Probe
from llmbench.collectors.server.presets import (
    PRESETS,
    QUANTITIES,
    Mapped,
    Sources,
    parse_preset,
    parse_source,
)
from llmbench.scenario.http_fields import ApiKeyEnv, Headers, Url
from llmbench.units import Seconds

ENDPOINT = "endpoint"
PATH = "/metrics"


def _source(text: str) -> str:
    parse_source(text)
    return text


class ServerMetricsOptions(CollectorOptions):
    """``{kind: server, preset: vllm}`` or ``{kind: server, quantities: {running: my_gauge}}``."""

    interval: Seconds = Field(default=1.0, ge=0.1, description="time between readings")
    url: Url | None = Field(
        default=None,
        description="URL of the metrics; default: /metrics of every server of the endpoint backend",
    )
    preset: Literal["auto", "vllm", "sglang", "llama.cpp", "tgi", "triton", "dcgm"] = Field(
        default="auto", description="whose names the metrics have; auto: found from these names"
    )
    quantities: dict[str, Annotated[str, AfterValidator(_source)]] = Field(
        default_factory=dict,
        description="the server's metric for each quantity: {running: my_gauge}; other quantities"
        " are the preset's",
    )
    api_key_env: ApiKeyEnv | None = Field(
        default=None,
        description="name of the environment variable with the API key; default: the endpoint's,"
        " and no key for a `url`",
    )
    headers: Headers = Field(
        default_factory=dict, description="extra HTTP headers; ${NAME} is an environment variable"
    )
    verify: bool | str = Field(
        default=True, description="verify the server's TLS certificate: true, false or a CA file"
    )

    @model_validator(mode="after")
    def _is_valid(self) -> Self:
        if unknown := self.quantities.keys() - QUANTITIES.keys():
            known = ", ".join(QUANTITIES)
            raise ValueError(f"no quantity named {min(unknown)!r}; known: {known}")
        return self

    def check_backends(self, kinds: Sequence[str]) -> None:
        """Raise ValueError if there is no URL and a backend without a server."""
        local = [kind for kind in kinds if kind != ENDPOINT]
        if self.url is None and local:
            raise ValueError(
                f"the collector `server` reads the metrics of an `{ENDPOINT}` backend, and "
                f"`{local[0]}` has no server; set its `url`, or remove it from `collect`"
            )

    def for_servers(self, access: Access | None) -> tuple[Self, ...]:
        """Return the options with the URL of each server's metrics, and its credentials.

        A ``url`` of the collector's own gets no credentials but its own.
        """
        if self.url is not None:
            path = urlsplit(self.url).path or PATH
            return (self.model_copy(update={"url": self.url.removesuffix(path) + path}),)
        if access is None:
            return (self,)
        own = {
            "api_key_env": self.api_key_env or access.api_key_env,
            "headers": {**access.headers, **self.headers},
            "verify": access.verify if self.verify is True else self.verify,
        }
        return tuple(self.model_copy(update={**own, "url": url + PATH}) for url in access.urls)

    @property
    def metrics(self) -> set[str]:
        """The metrics that may be read: those of all presets if the preset is to be found."""
        return set().union(*map(_metrics_of, (*self._presets(), self._own())))

    def mapped(self, metrics: Collection[str]) -> Mapped:
        """Return the sources of each quantity, given the metrics that the server has.

        With ``auto``, the presets with a metric among them apply, an earlier one before a later
        one.
        """
        is_found = self.preset == "auto"
        presets = [p for p in self._presets() if not is_found or _metrics_of(p) & {*metrics}]
        return dict(ChainMap(self._own(), *presets))

    def _presets(self) -> list[Sources]:
        names = list(PRESETS) if self.preset == "auto" else [self.preset]
        return [parse_preset(PRESETS[name]) for name in names]

    def _own(self) -> Sources:
        return parse_preset({name: [text] for name, text in self.quantities.items()})


def _metrics_of(mapped: Mapped) -> set[str]:
    return {source.metric for sources in mapped.values() for source in sources}


class ServerMetrics(Collector):
    """Queue, batch and KV-cache metrics that an inference server publishes for Prometheus.

    They are what the server says of itself. They cover all its clients, not only llmbench.
    """

    Options = ServerMetricsOptions
    needs: ClassVar[Mapping[str, str]] = {"prometheus_client": "server"}
    options: ServerMetricsOptions

    def probe(self, pid: int) -> Probe:  # noqa: ARG002 (the server may be on another machine)
        """Open a probe of the server's metrics; raises InputError if its name is unknown."""
        from llmbench.collectors.server.probe import ServerProbe  # noqa: PLC0415 (optional package)

        return ServerProbe(self.options, number=self.number)
