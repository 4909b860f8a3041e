"""The probe of a server's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.collectors.base import Conclusion, Probe, Quantity
from llmbench.collectors.server.collector import ServerMetricsOptions
from llmbench.collectors.server.exposition import Sample
from llmbench.collectors.server.gpus import Gpus
from llmbench.collectors.server.presets import PRESETS, QUANTITIES, Mapped, parse_preset
from llmbench.collectors.server.quantities import STARTED, ServerQuantities, server_name
from llmbench.collectors.server.scraping import Background, Reading, Scrape, Scraper

TIMEOUT_SHARE, LONGEST_TIMEOUT = 0.8, 5.0  # of the interval, and in seconds
UNKNOWN = f"no metric of a known server ({', '.join(PRESETS)}); set `preset` or `quantities`"


class ServerProbe(Probe):
    """Reads a server's metrics in a thread, one reading per interval.

    A reading is returned at the following tick, with its own time. The first is that of `begin`.
    ``number`` counts the servers of a run, from 1.
    """

    def __init__(
        self, options: ServerMetricsOptions, scrape: Scrape | None = None, number: int = 1
    ) -> None:
        self._options = options
        self._name = server_name(number)
        self._background = Background(scrape or scraper(options))
        self._read_at: float | None = None
        self._unavailable: str | None = None
        samples = self._first_samples()
        mapped = options.mapped({sample.metric for sample in samples})
        if not mapped:
            self._unavailable = next(iter(self._background.failed), UNKNOWN)
            mapped = parse_preset(PRESETS["vllm"])  # whose quantities are those of most servers
        self._gpus = Gpus(mapped, samples, self._name)
        self._server = ServerQuantities(_without_gpus(mapped), self._name)
        self._quantities = (*self._server.quantities(), *self._gpus.quantities())

    def _first_samples(self) -> Sequence[Sample]:
        self._background.start()
        reading = self._background.wait()
        return reading.samples if reading else ()

    def quantities(self) -> Sequence[Quantity]:
        """Return the quantities; all are unavailable if the kind of the server is unknown."""
        return [Quantity(q.name, q.unit, self._unavailable) for q in self._quantities]

    def begin(self) -> None:
        """Make the first reading, so that it has nothing of the load."""
        self._background.start()
        self._background.settle()

    def read(self) -> Sequence[float | None]:
        """Return the values of the reading that ended last, and begin the next one."""
        reading = self._background.take()
        self._background.start()
        if reading is None:
            return [None] * len(self._quantities)
        return self._values(reading)

    def _values(self, reading: Reading) -> list[float | None]:
        self._read_at = reading.moment
        own = self._server.take(reading.samples, reading.seconds)
        return [*own, *self._gpus.take(reading.samples)]

    def read_at(self) -> float | None:
        """Return the time of the reading that ended last."""
        return self._read_at

    def reasons(self) -> Mapping[str, str]:
        """Return why quantities had no value: the most frequent failure, or a lacking metric."""
        failures = self._background.failed.most_common(1)
        if failures and not self._server.has_read:
            return {quantity.name: failures[0][0] for quantity in self._quantities}
        return self._server.reasons()

    def conclude(self) -> Conclusion:
        """Read once more after the load; return what was read, and increases of counters."""
        self._background.wait()
        self._background.start()
        if reading := self._background.wait():
            self._values(reading)
        return Conclusion({key: facts for key, facts in self._facts() if facts})

    def _facts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        interval, failed = self._options.interval, dict(self._background.failed)
        if own := self._server.facts():
            common = {"url": self._options.url, "interval": interval, "failed_readings": failed}
            yield self._name, {**common, **own}
        yield "energy", self._gpus.facts(interval, failed)


def scraper(options: ServerMetricsOptions) -> Scraper:
    """Return the scraper of the options' URL; raises InputError as `EndpointOptions` does."""
    endpoint = EndpointOptions(
        url=options.url,
        headers=options.headers,
        verify=options.verify,
        api_key_env=options.api_key_env or EndpointOptions.model_fields["api_key_env"].default,
    )
    headers = endpoint.credentials()
    if options.api_key_env is None and "Authorization" not in options.headers:
        headers.pop("Authorization", None)
    timeout = min(TIMEOUT_SHARE * options.interval, LONGEST_TIMEOUT)
    return Scraper(endpoint, headers, options.metrics | {STARTED}, timeout)


def _without_gpus(mapped: Mapped) -> Mapped:
    return {name: sources for name, sources in mapped.items() if QUANTITIES[name] != "gpu"}
