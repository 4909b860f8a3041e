"""Which request is due when: all the rules of a load, with no clock and no network.

Backends pull from a ``Dispatch`` whatever is due by now and tell it what has finished. Rules for
due times, closed loops, warm-up and stopping exist here once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.request import Request

__all__ = ["Arrivals", "Dispatch", "Stop"]


@dataclass(frozen=True, slots=True)
class Stop:
    """When a load stops sending: after so many requests, after so many seconds, or the earlier.

    ``warmup`` requests come first and are cut from every metric; ``requests`` counts the measured
    ones, and ``duration`` (seconds) runs from the due time of the first measured one.
    """

    warmup: int = 0
    requests: int | None = None
    duration: float | None = None

    @property
    def total(self) -> int | None:
        """How many requests are sent at the most, warm-up included; None where time decides."""
        return None if self.requests is None else self.warmup + self.requests


class Arrivals(Protocol):
    """The due times of a load: those known before it starts and those that answers bring about."""

    def at_start(self) -> Sequence[float] | NDArray[np.float64]:
        """List the due times known beforehand, ascending, in seconds since the load began."""

    def after_finish(self, now: float) -> float | None:
        """Give the due time that the end of a request brings about, or None."""


class Dispatch:
    """The requests of a run, handed out as they fall due.

    ``requests`` may be endless where the stop rule is a duration.
    """

    def __init__(self, requests: Iterable[Request], arrivals: Arrivals, stop: Stop) -> None:
        self._requests: Iterator[Request] = iter(requests)
        self._arrivals = arrivals
        self._stop = stop
        self._due = [float(due) for due in arrivals.at_start()]
        heapq.heapify(self._due)
        self._end = float("inf")
        self._in_flight: set[int] = set()
        self.taken = 0
        self.completed = 0

    @property
    def in_flight(self) -> int:
        """How many requests the backend is working on."""
        return len(self._in_flight)

    @property
    def total(self) -> int | None:
        """How many requests there will be, or None where time decides."""
        return self._stop.total

    @property
    def exhausted(self) -> bool:
        """Whether nothing more will be sent unless an answer brings it about."""
        return self.next_due() is None

    @property
    def finished(self) -> bool:
        """Whether everything that was sent has come back and nothing more will be sent."""
        return not self._in_flight and self.exhausted

    def next_due(self) -> float | None:
        """Tell when the next request is due, or None while no due time is known."""
        if not self._due or self.taken == self._stop.total or self._due[0] >= self._end:
            return None
        return self._due[0]

    def take_due(self, now: float) -> list[tuple[Request, float]]:
        """Hand out every request due by now, with its due time, earliest first."""
        taken = []
        while (due := self.next_due()) is not None and due <= now:
            heapq.heappop(self._due)
            taken.append((self._take(due), due))
        return taken

    def _take(self, due: float) -> Request:
        request = next(self._requests)
        if self.taken == self._stop.warmup and self._stop.duration is not None:
            self._end = due + self._stop.duration
        self.taken += 1
        self._in_flight.add(request.id)
        return request

    def finish(self, request_id: int, now: float) -> None:
        """Note that a request has come back, well or badly.

        Raises KeyError when it is not in flight.
        """
        self._in_flight.remove(request_id)
        self.completed += 1
        due = self._arrivals.after_finish(now)
        if due is not None:
            heapq.heappush(self._due, due)
