"""Which request is due when: all the rules of a load, with no clock and no network.

Backends pull from a ``Dispatch`` whatever is due by now and tell it what has finished. Rules for
due times, closed loops, warm-up and stopping exist here once.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.loads.progress import Progress, Sample
from llmbench.loads.stopping import Precision, Reason, Stop, share
from llmbench.runs.request import Request


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests may be in flight, and what happens to one that falls due at that limit.

    ``queue``: it is sent as soon as there is room, and its latency counts from its due time;
    ``drop``: it is never sent, and counts as failed.
    """

    in_flight: int | None = None
    on_limit: Literal["queue", "drop"] = "queue"

    def shard(self, index: int, count: int) -> Limit:
        """Give a client's share; each has room for one request at the least."""
        if self.in_flight is None:
            return self
        return Limit(max(1, share(self.in_flight, index, count)), self.on_limit)


UNLIMITED = Limit()


@dataclass(frozen=True, slots=True)
class _Every:
    """Every count-th request from ``index`` on."""

    requests: Iterable[Request]
    index: int
    count: int

    def __iter__(self) -> Iterator[Request]:
        return islice(iter(self.requests), self.index, None, self.count)


class Arrivals(Protocol):
    """The due times of a load: those known before it starts and those that answers bring about."""

    def at_start(self) -> Sequence[float] | NDArray[np.float64]:
        """List the due times known beforehand, ascending, in seconds since the load began."""

    def after_finish(self, now: float) -> float | None:
        """Give the due time that the end of a request brings about, or None."""

    def shard(self, index: int, count: int) -> Arrivals:
        """Give every count-th arrival from ``index`` on: what one of several clients sends."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request came back, as far as the rest of the load goes by it.

    ``first_token`` is the time of its first token, ``token_times`` those of all chunks where they
    are known; the answer is known by its ids or as text, and has so many ``tokens``.
    """

    succeeded: bool = True
    first_token: float | None = None
    token_times: Sequence[float] = ()
    tokens: int = 0
    answer_ids: Sequence[int] = ()
    answer_text: str = ""


ANSWERED = Outcome()


@dataclass(slots=True)
class LoadSummary:
    """How a load ended: what stopped it, the requests never sent with their due times.

    ``abandoned`` counts the turns of sessions that had broken off.
    """

    stopped_by: list[Reason] = field(default_factory=list)
    dropped: list[tuple[Request, float]] = field(default_factory=list)
    abandoned: int = 0

    def absorb(self, other: LoadSummary) -> None:
        """Add how another part of the same load ended."""
        self.stopped_by += [reason for reason in other.stopped_by if reason not in self.stopped_by]
        self.dropped += other.dropped
        self.abandoned += other.abandoned


class Dispatch:
    """The requests of a run, handed out as they fall due.

    ``requests`` may be endless where the stop rule is a duration. A request with more ``turns`` is
    the first of a session, whose next turn falls due when the last one is answered and thought
    about; the load's arrivals are those of sessions then. ``on_more`` is called, from any thread,
    when requests fall due that nobody could know of.
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
        self._limit = limit
        self._order = count()
        self._due = [_Place(float(due), next(self._order)) for due in arrivals.at_start()]
        heapq.heapify(self._due)
        self._first = float("inf")
        self._ended: Reason | None = None
        self._in_flight: dict[int, tuple[Request, float]] = {}
        self._judged = _Judged(stop)
        self._ending = LoadSummary()
        self._sample = Sample()
        self.stop = stop
        self.on_more: Callable[[], object] | None = None
        self.taken = 0
        self.completed = 0

    def shard(self, index: int, count: int) -> Dispatch:
        """Give the part of a load, not begun yet, that one of several clients sends."""
        return Dispatch(
            _Every(self._all, index, count),
            self._arrivals.shard(index, count),
            self.stop.shard(index, count),
            self._limit.shard(index, count),
        )

    @property
    def due_times(self) -> list[float]:
        """The due times that are known, ascending: no more clients have something to do."""
        return sorted(place.due for place in self._due)

    @property
    def in_flight(self) -> int:
        """How many requests the backend is working on."""
        return len(self._in_flight)

    @property
    def total(self) -> int | None:
        """How many requests there will be at the most, or None where time decides."""
        return self.stop.total

    @property
    def finished(self) -> bool:
        """Whether everything that was sent has come back and nothing more will be sent."""
        return not self._in_flight and not self._has_more

    @property
    def ending(self) -> LoadSummary:
        """How the load ended, once it is finished."""
        if self._ending.stopped_by:
            return self._ending
        return replace(self._ending, stopped_by=[self._reached or "schedule"])

    def ended(self, ending: LoadSummary) -> None:
        """Note how the load ended, where its shards were sent from elsewhere."""
        self._ending = ending

    def end(self, reason: Reason) -> None:
        """Send nothing more; what is in flight may come back."""
        self._ended = self._ended or reason

    @property
    def _reached(self) -> Reason | None:
        """The limit that keeps the next request from being sent."""
        due = self._due[0].due if self._due else float("-inf")
        return self._ended or self.stop.reached(self.taken, due - self._first)

    @property
    def _has_more(self) -> bool:
        """Whether a due time is known at which something will be sent or dropped."""
        return bool(self._due) and not self._reached

    @property
    def _is_full(self) -> bool:
        return len(self._in_flight) == self._limit.in_flight

    def next_due(self) -> float | None:
        """Tell when the next request is due, or None where none can be sent before one is back."""
        return self._due[0].due if self._has_more and not self._is_full else None

    def wait(self) -> None:
        """Wait until there is something to do, where only ``on_more`` would tell."""

    def first_token(self, request_id: int) -> None:
        """Note that the first token of a request has come."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is to be kept of how the load went."""
        return {"stopped_by": self.ending.stopped_by, "abandoned_turns": self.ending.abandoned}

    def take_due(self, now: float) -> list[tuple[Request, float]]:
        """Hand out every request due by now, with its due time, earliest first."""
        taken = []
        while (due := self.next_due()) is not None and due <= now:
            request = self._take()
            self._in_flight[request.id] = request, due
            taken.append((request, due))
        self._drop_due(now)
        return taken

    def _take(self) -> Request:
        place = heapq.heappop(self._due)
        request = place.request or next(self._requests)
        if self.taken < self.stop.warmup:
            request = replace(request, phase="warmup")
        elif self.taken == self.stop.warmup:
            self._first = place.due
        self.taken += 1
        return request

    def _drop_due(self, now: float) -> None:
        """Drop what fell due while there was no room, where the limit says so."""
        while self._limit.on_limit == "drop" and self._is_full and self._has_more:
            if (due := self._due[0].due) > now:
                break
            request = self._take()
            self._ending.dropped.append((request, due))
            self._ending.abandoned += len(request.turns)
            self._sample.failed += 1
            self.completed += 1

    def finish(self, request_id: int, now: float, outcome: Outcome = ANSWERED) -> None:
        """Note that a request has come back, well or badly.

        Raises KeyError when it is not in flight.
        """
        self._drop_due(now)
        request, due = self._in_flight.pop(request_id)
        self.completed += 1
        self._sample.add(now, outcome.tokens, succeeded=outcome.succeeded)
        if request.phase == "measured":
            self._judge(due, now, outcome)
        if request.turns and outcome.succeeded:
            self._go_on(request.next_turn(outcome.answer_ids, outcome.answer_text), now)
        else:
            self._ending.abandoned += len(request.turns)
            self._bring_about(now)

    def _judge(self, due: float, now: float, outcome: Outcome) -> None:
        """Take in a measured request, which may end the load."""
        self._sample.time(due, outcome.token_times)
        if reason := self._judged.after(due, now, outcome):
            self.end(reason)

    def progress(self) -> Progress:
        """Say how far the load is, with a few latencies of what came back since the last time."""
        ttft, itl = self._sample.take()
        told = self._sample
        return Progress(
            self.completed, self.total, told.failed, told.output_tokens, told.at, ttft, itl
        )

    def hear(self, before: Progress, now: Progress) -> None:
        """Take in how far a shard is that is sent from elsewhere, and how far it was before."""
        self.completed += now.completed - before.completed
        self._sample.hear(before, now)

    def _go_on(self, request: Request, now: float) -> None:
        """Let a session's next turn fall due when it has been thought about."""
        self.add(now + request.think_seconds, request)

    def add(self, due: float, request: Request) -> None:
        """Let a request fall due that nobody knew of at the start."""
        heapq.heappush(self._due, _Place(due, next(self._order), request))

    def _bring_about(self, now: float) -> None:
        due = self._arrivals.after_finish(now)
        if due is not None:
            heapq.heappush(self._due, _Place(due, next(self._order)))


class _Place(NamedTuple):
    """A due time, in their order, and the request that is due; None: the next of the workload."""

    due: float
    order: int
    request: Request | None = None


class _Judged:
    """The measured requests that are back, as far as a stop rule goes by them."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._finished = 0
        self._failed = 0
        self._dues, self._values = array("d"), array("d")
        self._next_look = 1

    def after(self, due: float, now: float, outcome: Outcome) -> Reason | None:
        """Take in a request and tell whether the load is to end."""
        self._finished += 1
        self._failed += not outcome.succeeded
        if self._stop.has_failed(self._failed, self._finished):
            return "error-rate"
        if self._stop.precision and outcome.succeeded:
            return self._after_sample(self._stop.precision, due, now, outcome)
        return None

    def _after_sample(
        self, wanted: Precision, due: float, now: float, outcome: Outcome
    ) -> Reason | None:
        """Look at the sample whenever it has grown by a tenth, as looking takes time."""
        until = outcome.first_token if wanted.quantity == "ttft" else now
        if until is None:
            return None
        self._dues.append(due)
        self._values.append(until - due)
        if len(self._dues) < max(self._next_look, self._stop.min_requests):
            return None
        self._next_look = len(self._dues) * 11 // 10 + 1
        dues, values = np.array(self._dues), np.array(self._values)
        if np.ptp(dues) < self._stop.min_duration:
            return None
        return "precision" if wanted.is_met(values[np.argsort(dues)]) else None
