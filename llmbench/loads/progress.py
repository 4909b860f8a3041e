"""Progress of a running load, with a sample of its latencies: for display, never for results."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LATEST_REQUESTS, GAPS_PER_REQUEST = 8, 4
MICROSECOND_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Progress:
    """The numbers of finished, failed and planned requests of a load, and recent latencies.

    ``at`` is the time of the last response on the run's clock, ``output_tokens`` the tokens of all
    responses (None: unknown). The latencies are a sample: the TTFT and GAPS_PER_REQUEST inter-token
    latencies of the last LATEST_REQUESTS measured requests finished since the previous update.
    """

    completed: int
    total: int | None
    failed: int = 0
    output_tokens: int | None = None
    at: float | None = None
    ttft_seconds: Sequence[float] = ()
    itl_seconds: Sequence[float] = ()

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Progress:
        """Parse a worker's event; unknown fields (of other versions) are ignored."""
        return cls(**{name: event[name] for name in cls.__slots__ if name in event})

    def to_event(self) -> dict[str, Any]:
        """Return the progress as the fields of a worker's event."""
        return {name: getattr(self, name) for name in self.__slots__}


NOTHING_YET = Progress(0, None, output_tokens=0)


class ProgressSample:
    """Collects progress data; most of the work is deferred until a report is requested."""

    def __init__(self) -> None:
        self.failed = 0
        self.output_tokens = 0
        self.at: float | None = None
        self._latest: deque[tuple[float, Sequence[float]]] = deque(maxlen=LATEST_REQUESTS)
        self._reports: deque[Progress] = deque(maxlen=LATEST_REQUESTS)

    def add(self, now: float, tokens: int, *, failed: bool) -> None:
        """Count a finished request, with its output tokens and end time."""
        self.at = now
        self.failed += failed
        self.output_tokens += tokens

    def add_times(self, due: float, token_times: Sequence[float]) -> None:
        """Add the token times of a request; only the latest requests are sampled."""
        if token_times:
            self._latest.append((due, token_times))

    def merge(self, before: Progress, now: Progress) -> None:
        """Add a shard's progress since its last report."""
        self.at = now.at
        self.failed += now.failed - before.failed
        self.output_tokens += (now.output_tokens or 0) - (before.output_tokens or 0)
        self._reports.append(now)

    def take(self) -> tuple[list[float], list[float]]:
        """Return TTFTs and inter-token latencies of the latest requests, and reset the sample."""
        latest, reports = list(self._latest), list(self._reports)
        self._latest.clear()
        self._reports.clear()
        ttft = [round(times[0] - due, MICROSECOND_DIGITS) for due, times in latest]
        gaps = [gap for _, times in latest for gap in _gaps(times)]
        return (
            [*ttft, *(value for report in reports for value in report.ttft_seconds)],
            [*gaps, *(value for report in reports for value in report.itl_seconds)],
        )


def _gaps(times: Sequence[float]) -> list[float]:
    """Return at most GAPS_PER_REQUEST inter-token latencies, sampled evenly, latest first."""
    step = max(1, (len(times) - 1) // GAPS_PER_REQUEST)
    indices = range(len(times) - 1, 0, -step)[:GAPS_PER_REQUEST]
    return [round(times[index] - times[index - 1], MICROSECOND_DIGITS) for index in indices]
