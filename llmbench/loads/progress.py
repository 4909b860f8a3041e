"""How far a load is, with a few of its latencies: for people who wait, never for results."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LATEST_REQUESTS, GAPS_A_REQUEST = 8, 4
MICROSECOND_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Progress:
    """What has come back of a load so far.

    ``at`` is the time of the last answer on the run's clock, ``output_tokens`` those of all
    answers; None is not known. The latencies are a sample: of the measured requests that came back
    since the progress before, the latest LATEST_REQUESTS have their TTFT in it and GAPS_A_REQUEST
    of their gaps between chunks.
    """

    completed: int
    total: int | None
    failed: int = 0
    output_tokens: int | None = None
    at: float | None = None
    ttft_seconds: Sequence[float] = ()
    itl_seconds: Sequence[float] = ()

    @classmethod
    def told(cls, event: Mapping[str, Any]) -> Progress:
        """Read what a worker said, who may be of a version that says less, or more."""
        return cls(**{name: event[name] for name in cls.__slots__ if name in event})

    def as_event(self) -> dict[str, Any]:
        """Give what a worker says."""
        return {name: getattr(self, name) for name in self.__slots__}


NOTHING_YET = Progress(0, None, output_tokens=0)


class Sample:
    """Keeps what a progress is made of: little is done for a request, the rest when it is asked."""

    def __init__(self) -> None:
        self.failed = 0
        self.output_tokens = 0
        self.at: float | None = None
        self._latest: deque[tuple[float, Sequence[float]]] = deque(maxlen=LATEST_REQUESTS)
        self._heard: deque[Progress] = deque(maxlen=LATEST_REQUESTS)

    def add(self, now: float, tokens: int, *, succeeded: bool) -> None:
        """Count a request that is back, with so many tokens."""
        self.at = now
        self.failed += not succeeded
        self.output_tokens += tokens

    def time(self, due: float, token_times: Sequence[float]) -> None:
        """Keep the stamps of a request as they are; only the latest are ever looked at."""
        if token_times:
            self._latest.append((due, token_times))

    def hear(self, before: Progress, now: Progress) -> None:
        """Add what a part of the load that is sent from elsewhere has done between two reports."""
        self.at = now.at
        self.failed += now.failed - before.failed
        self.output_tokens += (now.output_tokens or 0) - (before.output_tokens or 0)
        self._heard.append(now)

    def take(self) -> tuple[list[float], list[float]]:
        """Give TTFTs and gaps of the latest requests, and begin anew."""
        latest, heard = list(self._latest), list(self._heard)
        self._latest.clear()
        self._heard.clear()
        ttft = [round(times[0] - due, MICROSECOND_DIGITS) for due, times in latest]
        gaps = [gap for _, times in latest for gap in _gaps(times)]
        return (
            [*ttft, *(value for each in heard for value in each.ttft_seconds)],
            [*gaps, *(value for each in heard for value in each.itl_seconds)],
        )


def _gaps(times: Sequence[float]) -> list[float]:
    """Take a few of the gaps, at even distances from the last one back."""
    step = max(1, (len(times) - 1) // GAPS_A_REQUEST)
    places = range(len(times) - 1, 0, -step)[:GAPS_A_REQUEST]
    return [round(times[place] - times[place - 1], MICROSECOND_DIGITS) for place in places]
