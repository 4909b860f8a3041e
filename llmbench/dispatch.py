"""Which request is due when: all the rules of a load, with no clock and no network.

Backends pull from a ``Dispatch`` whatever is due by now and tell it what has finished. Rules for
due times, closed loops, warm-up and stopping exist here once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.request import Request

__all__ = ["UNLIMITED", "Arrivals", "Dispatch", "Limit", "Stop"]


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

    def stripe(self, index: int, count: int) -> Stop:
        """Give the rule of every count-th request from ``index`` on."""
        warmup = _share(self.warmup, index, count)
        total = None if self.total is None else _share(self.total, index, count)
        return Stop(warmup, None if total is None else total - warmup, self.duration)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests may be in flight, and what becomes of one that falls due meanwhile.

    ``wait``: it is sent as soon as there is room, and its latency counts from its due time;
    ``drop``: it is never sent, and counts as failed.
    """

    in_flight: int | None = None
    behind: Literal["wait", "drop"] = "wait"

    def stripe(self, index: int, count: int) -> Limit:
        """Give a client's share; each has room for one request at the least."""
        if self.in_flight is None:
            return self
        return Limit(max(1, _share(self.in_flight, index, count)), self.behind)


UNLIMITED = Limit()


@dataclass(frozen=True, slots=True)
class _Every:
    """Every count-th request from ``index`` on."""

    requests: Iterable[Request]
    index: int
    count: int

    def __iter__(self) -> Iterator[Request]:
        return islice(iter(self.requests), self.index, None, self.count)


def _share(total: int, index: int, count: int) -> int:
    """Count the numbers below ``total`` that are ``index`` modulo ``count``."""
    return len(range(index, total, count))


class Arrivals(Protocol):
    """The due times of a load: those known before it starts and those that answers bring about."""

    def at_start(self) -> Sequence[float] | NDArray[np.float64]:
        """List the due times known beforehand, ascending, in seconds since the load began."""

    def after_finish(self, now: float) -> float | None:
        """Give the due time that the end of a request brings about, or None."""

    def stripe(self, index: int, count: int) -> Arrivals:
        """Give every count-th arrival from ``index`` on: what one of several clients sends."""


class Dispatch:
    """The requests of a run, handed out as they fall due.

    ``requests`` may be endless where the stop rule is a duration. ``dropped`` lists the requests
    that were never sent, with their due times.
    """

    def __init__(
        self,
        requests: Iterable[Request],
        arrivals: Arrivals,
        stop: Stop,
        limit: Limit = UNLIMITED,
    ) -> None:
        self._all = requests
        self._requests = iter(requests)
        self._arrivals = arrivals
        self._stop = stop
        self._limit = limit
        self._due = [float(due) for due in arrivals.at_start()]
        heapq.heapify(self._due)
        self._end = float("inf")
        self._in_flight: set[int] = set()
        self.dropped: list[tuple[Request, float]] = []
        self.taken = 0
        self.completed = 0

    def stripe(self, index: int, count: int) -> Dispatch:
        """Give the part of a load, not begun yet, that one of several clients sends."""
        return Dispatch(
            _Every(self._all, index, count),
            self._arrivals.stripe(index, count),
            self._stop.stripe(index, count),
            self._limit.stripe(index, count),
        )

    @property
    def known(self) -> int:
        """How many due times are known: no more clients than that have something to do."""
        return len(self._due)

    @property
    def in_flight(self) -> int:
        """How many requests the backend is working on."""
        return len(self._in_flight)

    @property
    def total(self) -> int | None:
        """How many requests there will be, or None where time decides."""
        return self._stop.total

    @property
    def finished(self) -> bool:
        """Whether everything that was sent has come back and nothing more will be sent."""
        return not self._in_flight and not self._has_more

    @property
    def _has_more(self) -> bool:
        """Whether a due time is known at which something will be sent or dropped."""
        return bool(self._due) and self.taken != self._stop.total and self._due[0] < self._end

    @property
    def _is_full(self) -> bool:
        return len(self._in_flight) == self._limit.in_flight

    def next_due(self) -> float | None:
        """Tell when the next request is due, or None where none can be sent before one is back."""
        return self._due[0] if self._has_more and not self._is_full else None

    def take_due(self, now: float) -> list[tuple[Request, float]]:
        """Hand out every request due by now, with its due time, earliest first."""
        taken = []
        while (due := self.next_due()) is not None and due <= now:
            request = self._take()
            self._in_flight.add(request.id)
            taken.append((request, due))
        self._drop_due(now)
        return taken

    def _take(self) -> Request:
        due = heapq.heappop(self._due)
        request = next(self._requests)
        if self.taken == self._stop.warmup and self._stop.duration is not None:
            self._end = due + self._stop.duration
        self.taken += 1
        return request

    def _drop_due(self, now: float) -> None:
        """Drop what fell due while there was no room, where the limit says so."""
        while self._limit.behind == "drop" and self._is_full and self._has_more:
            if (due := self._due[0]) > now:
                break
            self.dropped.append((self._take(), due))
            self.completed += 1

    def finish(self, request_id: int, now: float) -> None:
        """Note that a request has come back, well or badly.

        Raises KeyError when it is not in flight.
        """
        self._drop_due(now)
        self._in_flight.remove(request_id)
        self.completed += 1
        due = self._arrivals.after_finish(now)
        if due is not None:
            heapq.heappush(self._due, due)
