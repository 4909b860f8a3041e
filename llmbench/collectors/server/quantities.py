"""A server's samples as quantities: values over time, and increases for the run's facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmbench.collectors.base import Quantity
from llmbench.collectors.server.exposition import Sample
from llmbench.collectors.server.presets import MAXIMUM, QUANTITIES, Kind, Mapped, Source
from llmbench.collectors.server.rises import Rises

STARTED = "process_start_time_seconds"  # of Prometheus' own clients
SECONDS = "server_reading_seconds"
MOST = 1e15  # of a gauge


@dataclass(frozen=True, slots=True)
class Output:
    """A series of the collector: its name and unit, and the quantity that it is made from.

    That is a ``gauge``, a ``share`` of one counter's increase in another's or, without them, the
    gauge, or the ``total`` increase of a counter.
    """

    name: str
    unit: str
    gauge: str = ""
    share: tuple[str, ...] = ()
    total: str = ""
    scale: float = 1.0

    @property
    def made_from(self) -> tuple[str, ...]:
        """The quantities that it may be made from."""
        return tuple(filter(None, (*self.share, self.gauge, self.total)))


HITS, DRAFTS = ("prefix_cache_hits", "prefix_cache_queries"), ("accepted_tokens", "draft_tokens")
OUTPUTS = (
    Output("server_running", "requests", "running"),
    Output("server_waiting", "requests", "waiting"),
    Output("server_kv_cache_percent", "% of capacity", "kv_cache", scale=100),
    Output("server_prefix_cache_hit_percent", "% of tokens", share=HITS, scale=100),
    Output("server_preemptions", "preemptions", total="preemptions"),
    Output("server_draft_acceptance_percent", "% of tokens", "draft_acceptance", DRAFTS, scale=100),
)


def chosen(sources: Sequence[Source], samples: Iterable[Sample]) -> tuple[Source, list[Sample]]:
    """Return the first source of a quantity that the samples have, with these samples."""
    listed = list(samples)
    for source in sources:
        wanted = source.labels.items()
        if matching := [s for s in listed if s.metric == source.metric and wanted <= s.labels]:
            return source, matching
    return sources[0], []


def server_name(number: int) -> str:
    """Return the begin of the names of a server's series and facts: server, server2, ..."""
    return "server" if number == 1 else f"server{number}"


class ServerQuantities:
    """The values of a server's quantities, reading by reading.

    The names of series begin with that of the ``server``.
    """

    def __init__(self, mapped: Mapped, server: str = "server") -> None:
        self._mapped = mapped
        self._server = server
        self._rises = {
            name: Rises(is_histogram=_kind(name) == "histogram")
            for name in mapped
            if _kind(name) in ("counter", "histogram")
        }
        self._totals = dict.fromkeys(self._rises, 0.0)
        self._started: set[Sample] = set()
        self._used: dict[str, str] = {}
        self._number = -1
        self.outputs = [
            replace(output, name=self._named(output.name))
            for output in OUTPUTS
            if any(name in mapped for name in output.made_from)
        ]

    def _named(self, series: str) -> str:
        """Return the name of a series of this server."""
        return f"{self._server}{series.removeprefix('server')}"

    @property
    def has_read(self) -> bool:
        """Whether there was a reading."""
        return self._number >= 0

    def quantities(self) -> list[Quantity]:
        """Return the series, in the order of `take`; none if nothing is mapped."""
        seconds = [Quantity(self._named(SECONDS), "s")] if self._mapped else []
        return [Quantity(o.name, o.unit) for o in self.outputs] + seconds

    def take(self, samples: Sequence[Sample], seconds: float) -> list[float | None]:
        """Return the value of each series; a ratio of counters covers the time since the last."""
        self._number += 1
        self._check_start(samples)
        values = {name: self._value(name, samples) for name in self._mapped}
        taken = [seconds] if self._mapped else []
        return [self._output(output, values) for output in self.outputs] + taken

    def _check_start(self, samples: Iterable[Sample]) -> None:
        started = {sample for sample in samples if sample.metric == STARTED}
        if self._started and started != self._started:
            for rises in self._rises.values():
                rises.restart()
        self._started = started or self._started

    def _value(self, name: str, samples: Iterable[Sample]) -> float | None:
        source, matching = chosen(self._mapped[name], samples)
        if matching:
            self._used[name] = _described(name, source, len(matching))
        if name in self._rises:
            return self._rise(name, source, matching)
        values = [sample.value * source.scale for sample in matching]
        if not values or not all(0 <= value <= MOST for value in values):
            return None
        return max(values) if name in MAXIMUM else sum(values)

    def _rise(self, name: str, source: Source, matching: Sequence[Sample]) -> float | None:
        rises = self._rises[name]
        if not matching and not rises.is_known:
            return None
        rise = rises.take(self._number, matching, source.scale)
        self._totals[name] += rise or 0.0
        return rise

    def _output(self, output: Output, values: Mapping[str, float | None]) -> float | None:
        if output.total:
            return self._total(output.total)
        part, whole = (values.get(name) for name in output.share or ("", ""))
        value = values.get(output.gauge) if part is None or not whole else part / whole
        return None if value is None else output.scale * value

    def _total(self, counter: str) -> float | None:
        rises = self._rises[counter]
        return self._totals[counter] if rises.is_known and not rises.unavailable else None

    def reasons(self) -> dict[str, str]:
        """Return why series have no value, as far as it is known."""
        return dict(self._reasons())

    def _reasons(self) -> Iterator[tuple[str, str]]:
        for output in self.outputs:
            names = [name for name in output.made_from if name in self._mapped]
            invalid = [r.unavailable for name in names if (r := self._rises.get(name))]
            if reason := next(filter(None, invalid), None):
                yield output.name, reason
            elif not any(name in self._used for name in names):
                metrics = ", ".join(s.metric for name in names for s in self._mapped[name])
                yield output.name, f"the server has no metric {metrics}"
            else:
                yield output.name, "the server counted nothing in this time"

    def facts(self) -> dict[str, Any]:
        """Return the metrics that were used, and the increases of counters and histograms.

        Nothing if nothing is mapped.
        """
        if not self._mapped:
            return {}
        return {
            "metrics": self._used,
            "rises": {name: rises.facts() for name, rises in self._rises.items()},
        }


def _kind(name: str) -> Kind:
    return QUANTITIES[name]


def _described(name: str, source: Source, series: int) -> str:
    labels = ",".join(f'{key}="{value}"' for key, value in source.labels.items())
    metric = f"{source.metric}{{{labels}}}" if labels else source.metric
    if series == 1 or _kind(name) == "histogram":
        return metric
    return f"{metric} ({'largest' if name in MAXIMUM else 'sum'} of {series} series)"
