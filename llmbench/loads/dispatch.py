"""Scheduling of a load's requests, independent of clock and network.

Backends take due requests from a ``Dispatch`` and report the finished ones.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, cycle, islice
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.loads.abandonment import Abandonment
from llmbench.loads.open_sessions import OpenSession
from llmbench.loads.progress import Progress, ProgressSample
from llmbench.loads.stopping import Precision, Reason, Stop, shard_size
from llmbench.runs.record import Record
from llmbench.runs.request import Request


@dataclass(frozen=True, slots=True)
class Limit:
    """The maximum number of requests in flight, and the policy at that limit.

    ``queue``: a due request waits until another finishes; its latency counts from its due time.
    ``drop``: it is never sent and counts as failed.
    """

    in_flight: int | None = None
    on_limit: Literal["queue", "drop"] = "queue"

    def shard(self, index: int, count: int) -> Limit:
        """Return the limit of one of ``count`` clients: an equal part, at least one request."""
        if self.in_flight is None:
            return self
        return Limit(max(1, shard_size(self.in_flight, index, count)), self.on_limit)


UNLIMITED = Limit()


@dataclass(frozen=True, slots=True)
class RequestCycle:
    """An endless cycle over a pool of requests, with ascending ids.

    Each turn of a session gets an id. A shard has every ``count``-th request, starting at
    ``index``.
    """

    pool: Sequence[Request]
    index: int = 0
    count: int = 1

    def __iter__(self) -> Iterator[Request]:
        return islice(self._numbered(), self.index, None, self.count)

    def _numbered(self) -> Iterator[Request]:
        number = session = 0
        for request in cycle(self.pool):
            has_number = bool(request.turns) or request.is_in_job
            own: dict[str, Any] = {"session": session} if has_number else {}
            yield replace(request, id=number, **own) if own or number != request.id else request
            number += 1 + len(request.turns)
            session += has_number


class Arrivals(Protocol):
    """The due times of a load: known in advance, or triggered by finished requests."""

    def at_start(self) -> Sequence[float] | NDArray[np.float64]:
        """Return the due times known in advance, ascending, in seconds since the load began."""

    def after_finish(self, now: float) -> float | None:
        """Return the due time of the request that a finished one triggers, or None if none."""

    def shard(self, index: int, count: int) -> Arrivals:
        """Return a shard: every ``count``-th arrival, starting at ``index``."""


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """The parts of a request's outcome that the dispatch needs.

    ``first_token`` is the time of the first token, ``token_times`` those of all chunks if known.
    ``tokens`` is the output length, ``answer_ids`` or ``answer_text`` the output itself. A request
    that its user ``abandoned`` has neither succeeded nor failed.
    """

    succeeded: bool = True
    abandoned: bool = False
    first_token: float | None = None
    token_times: Sequence[float] = ()
    tokens: int = 0
    answer_ids: Sequence[int] = ()
    answer_text: str = ""

    @property
    def failed(self) -> bool:
        """Whether the request failed."""
        return not self.succeeded and not self.abandoned


ANSWERED, UNANSWERED = RequestOutcome(), RequestOutcome(succeeded=False)
ABRUPT: tuple[Reason | None, ...] = ("error-rate", "client-lag")  # jobs are cut off, too


@dataclass(slots=True)
class LoadSummary:
    """The reasons why a load stopped, and its dropped requests with their due times.

    ``given_up`` has the requests whose users gave up before they were sent, with their due times;
    ``unsent_turns`` counts the remaining turns of sessions that ended early.
    """

    stopped_by: list[Reason] = field(default_factory=list)
    dropped: list[tuple[Request, float]] = field(default_factory=list)
    given_up: list[tuple[Request, float]] = field(default_factory=list)
    unsent_turns: int = 0

    def unsent_records(self) -> list[Record]:
        """Return the records of requests that were dropped, or given up before they were sent."""
        message = "not sent: `max_in_flight` requests were in flight when it was due"
        dropped = [
            Record.of(request, due, None, "error", error_kind="dropped", error_message=message)
            for request, due in self.dropped
        ]
        given_up = [
            Record.of(request, due, None, "abandoned", abandoned_at=request.gives_up_at(due))
            for request, due in self.given_up
        ]
        return dropped + given_up

    def absorb(self, other: LoadSummary) -> None:
        """Add the summary of another shard of the same load."""
        self.stopped_by += [reason for reason in other.stopped_by if reason not in self.stopped_by]
        self.dropped += other.dropped
        self.given_up += other.given_up
        self.unsent_turns += other.unsent_turns


@dataclass(frozen=True, slots=True)
class Shard:
    """One client's part of a load that has not started: requests, arrivals, limits and draws."""

    requests: RequestCycle
    arrivals: Arrivals
    stop: Stop
    limit: Limit
    abandonment: Abandonment | None = None

    def dispatch(self) -> Dispatch:
        """Return a Dispatch of the shard's requests, for the client that sends them."""
        return Dispatch(self.requests, self.arrivals, self.stop, self.limit, self.abandonment)


class Dispatch:
    """The requests of a run, given to the backend as they fall due.

    ``requests`` may be endless, since arrivals and the stop rule end the load. A request with
    ``turns`` starts a session: arrivals are those of sessions, and each next turn is due one pause
    after the responses that it waits for. A turn that fails or is abandoned ends its session. When
    the load stops, sessions are cut off, but the jobs of agents go on to their end, in the phase
    ``drain``, unless errors or a slow client stopped it. ``abandonment`` selects the requests whose
    users give up. A waiting backend sets ``on_more``, which is called (from any thread) for a due
    request that ``next_due`` did not announce.
    """

    def __init__(
        self,
        requests: Iterable[Request],
        arrivals: Arrivals,
        stop: Stop,
        limit: Limit = UNLIMITED,
        abandonment: Abandonment | None = None,
    ) -> None:
        self._all = requests
        self._requests = iter(requests)
        self._arrivals = arrivals
        self._limit = limit
        self._abandonment = abandonment
        self._draw = abandonment.draw() if abandonment else None
        self._order = count()
        self._due = [_DueTime(float(due), next(self._order)) for due in arrivals.at_start()]
        heapq.heapify(self._due)
        self._first_measured = float("inf")
        self._ended: Reason | None = None
        self._stopped: Reason | None = None
        self._sessions: dict[int, OpenSession] = {}
        self._open_jobs = 0
        self._in_flight: dict[int, tuple[Request, float]] = {}
        self._stop_check = _StopCheck(stop)
        self._summary = LoadSummary()
        self._sample = ProgressSample()
        self.stop = stop
        self.on_more: Callable[[], object] | None = None
        self.taken = 0
        self.completed = 0

    def shard(self, index: int, count: int) -> Shard:
        """Return the part of client ``index`` of ``count`` in a load that has not started.

        Raise TypeError if the requests are not a RequestCycle.
        """
        if not isinstance(self._all, RequestCycle):
            raise TypeError("requests can be sharded only if they are a RequestCycle")
        return Shard(
            RequestCycle(self._all.pool, index, count),
            self._arrivals.shard(index, count),
            self.stop.shard(index, count),
            self._limit.shard(index, count),
            self._abandonment,
        )

    @property
    def requests(self) -> Iterable[Request]:
        """All requests again, without later turns, in the order of their ids."""
        return self._all

    @property
    def due_times(self) -> list[float]:
        """The due times known so far, ascending."""
        return sorted(entry.due for entry in self._due)

    @property
    def in_flight(self) -> int:
        """The number of requests that the backend is working on."""
        return len(self._in_flight)

    @property
    def total(self) -> int | None:
        """The maximum number of requests, warm-up included; None if not limited."""
        return self.stop.total

    @property
    def finished(self) -> bool:
        """Whether every request sent has finished and no more will be sent."""
        return not self._in_flight and not self._has_more

    @property
    def summary(self) -> LoadSummary:
        """Why the finished load stopped, and its requests that were never sent."""
        if self._summary.stopped_by:
            return self._summary
        return replace(self._summary, stopped_by=[self._stopped or self._reached or "schedule"])

    def conclude(self, summary: LoadSummary) -> None:
        """Set the summary of a load whose requests were sent by other processes."""
        self._summary = summary

    def end(self, reason: Reason) -> None:
        """Stop sending; requests in flight may still finish."""
        self._ended = self._ended or reason

    @property
    def _reached(self) -> Reason | None:
        """The limit that prevents the next request from being sent, or None."""
        due = self._due[0].due if self._due else float("-inf")
        return self._ended or self.stop.reached(self.taken, due - self._first_measured)

    @property
    def _has_more(self) -> bool:
        """Whether another request with a known due time will be sent or dropped."""
        return bool(self._due) and (not self._reached or self._is_of_open_job(self._due[0]))

    @property
    def _is_full(self) -> bool:
        return len(self._in_flight) == self._limit.in_flight

    def next_due(self) -> float | None:
        """Return the next due time, or None if no request can be sent before one finishes."""
        return self._due[0].due if self._has_more and not self._is_full else None

    def upcoming(self) -> Request | None:
        """Return the next request to be due without taking it, or None if none can be sent.

        It may be taken in another phase, or after one with an earlier due time that is not known
        yet.
        """
        if not self._has_more or self._is_full:
            return None
        entry = self._due[0]
        request = entry.request or next(self._requests)
        self._due[0] = entry._replace(request=request)
        return request

    def first_token(self, request_id: int) -> None:
        """Record the arrival of a request's first token, for subclasses that report it."""

    def recorded(self, record: Record) -> None:
        """Receive the record of a finished request, for subclasses that pass it on."""

    @property
    def facts(self) -> dict[str, Any]:
        """Why the load stopped and the number of unsent turns, to be stored with the run."""
        return {"stopped_by": self.summary.stopped_by, "abandoned_turns": self.summary.unsent_turns}

    def take_due(self, now: float) -> list[tuple[Request, float]]:
        """Return every request due by now, with its due time, earliest first.

        Those whose users gave up while they waited for others are left out.
        """
        taken = []
        while (due := self.next_due()) is not None and due <= now:
            request = self._take()
            if request.patience and self._is_given_up(request, due, now):
                continue
            self._in_flight[request.id] = request, due
            taken.append((request, due))
        self._drop_due(now)
        return taken

    def _is_given_up(self, request: Request, due: float, now: float) -> bool:
        """Return whether a request's user gave up before now; conclude it then."""
        moment = request.gives_up_at(due)
        if moment is None or moment > now:
            return False
        self._summary.given_up.append((request, due))
        self._settle(request, moment, UNANSWERED)
        return True

    def _take(self) -> Request:
        is_draining = self._reached is not None
        entry = heapq.heappop(self._due)
        request = entry.request or next(self._requests)
        if is_draining:
            request = replace(request, phase="drain")
        else:
            request = self._counted(request, entry.due)
        if session := self._sessions.get(request.first_id):
            session.sent()
        elif request.turns:
            self._begin_session(request, entry.due)
        self._discard_unsendable()
        return self._draw(request) if self._draw else request

    def _counted(self, request: Request, due: float) -> Request:
        """Count a request toward the limits of the stop rule; return it with its phase."""
        if self.taken < self.stop.warmup:
            request = replace(request, phase="warmup")
        elif self.taken == self.stop.warmup:
            self._first_measured = due
        self.taken += 1
        return request

    def _begin_session(self, first: Request, due: float) -> None:
        session = self._sessions[first.first_id] = OpenSession(first, due)
        self._open_jobs += session.is_job
        for begins, request in session.begun():
            self.add(begins, request)

    def _drop_due(self, now: float) -> None:
        """Drop requests that fell due at the in-flight limit, if its policy is ``drop``."""
        while self._limit.on_limit == "drop" and self._is_full and self._has_more:
            if (due := self._due[0].due) > now:
                break
            request = self._take()
            self._summary.dropped.append((request, due))
            self._sample.failed += 1
            self._settle(request, due, UNANSWERED)

    def finish(self, request_id: int, now: float, outcome: RequestOutcome = ANSWERED) -> None:
        """Record the outcome of a request.

        Raise KeyError when it is not in flight.
        """
        self._drop_due(now)
        request, due = self._in_flight.pop(request_id)
        self._sample.add(now, outcome.tokens, failed=outcome.failed)
        if request.phase == "measured":
            self._sample.add_times(due, outcome.token_times)
            if reason := self._stop_check.add(due, now, outcome):
                self.end(reason)
        self._settle(request, now, outcome)

    def _settle(self, request: Request, now: float, outcome: RequestOutcome) -> None:
        """Schedule what follows a request: later turns, or the next request of a closed loop."""
        self.completed += request.phase != "drain"
        session = self._sessions.get(request.first_id)
        if session and outcome.succeeded:
            answer = outcome.answer_ids, outcome.answer_text
            for due, following in session.answered(request, now, *answer):
                self.add(due, following)
        elif session:
            session.fail()
        if session is None or session.is_over:
            self._end_session(request, now)
        self._discard_unsendable()

    def _end_session(self, request: Request, now: float) -> None:
        """Leave out the remaining turns, and schedule the request that follows in a closed loop."""
        if session := self._sessions.pop(request.first_id, None):
            self._open_jobs -= session.is_job
            self._summary.unsent_turns += session.unsent
        if (next_due := self._arrivals.after_finish(now)) is not None:
            self.add(next_due)

    # -- the end of a load with jobs ---------------------------------------------------------------

    def _is_of_open_job(self, entry: _DueTime) -> bool:
        """Return whether an entry is a turn of a job that goes on although the load has stopped."""
        request = entry.request
        return bool(request and request.turn and request.is_in_job) and self._ended not in ABRUPT

    def _discard_unsendable(self) -> None:
        """Remove the next entries if they will never be sent, since they would hide later ones.

        These are the turns of failed sessions and, when the load has stopped while jobs go on, the
        starts of others.
        """
        while self._due and self._is_unsendable(self._due[0]):
            heapq.heappop(self._due)

    def _is_unsendable(self, entry: _DueTime) -> bool:
        request = entry.request
        if request and request.turn:
            session = self._sessions.get(request.first_id)
            return session is None or session.has_failed
        if self._open_jobs and self._ended not in ABRUPT and (reason := self._reached):
            self._stopped = reason
            return True
        return False

    def progress(self) -> Progress:
        """Return the progress, with a sample of the latencies since the last call."""
        ttft, itl = self._sample.take()
        sample = self._sample
        return Progress(
            self.completed, self.total, sample.failed, sample.output_tokens, sample.at, ttft, itl
        )

    def add_progress(self, before: Progress, now: Progress) -> None:
        """Add a shard's progress since its last report."""
        self.completed += now.completed - before.completed
        self._sample.merge(before, now)

    def add(self, due: float, request: Request | None = None) -> None:
        """Schedule a request during the load, by default the workload's next one."""
        heapq.heappush(self._due, _DueTime(due, next(self._order), request))


class _DueTime(NamedTuple):
    """A due time and its request; None means the workload's next request."""

    due: float
    order: int
    request: Request | None = None


class _StopCheck:
    """Applies the stop rules on error rate and precision to the finished measured requests."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._finished = 0
        self._failed = 0
        self._dues, self._values = array("d"), array("d")
        self._next_check = 1

    def add(self, due: float, now: float, outcome: RequestOutcome) -> Reason | None:
        """Add a finished request and return the reason to end the load, if any."""
        if outcome.abandoned:
            return None
        self._finished += 1
        self._failed += outcome.failed
        if self._stop.has_failed(self._failed, self._finished):
            return "error-rate"
        if self._stop.precision and outcome.succeeded:
            return self._check_precision(self._stop.precision, due, now, outcome)
        return None

    def _check_precision(
        self, precision: Precision, due: float, now: float, outcome: RequestOutcome
    ) -> Reason | None:
        """Check the precision only once per 10 % of new samples, because a check is slow."""
        end = outcome.first_token if precision.quantity == "ttft" else now
        if end is None:
            return None
        self._dues.append(due)
        self._values.append(end - due)
        if len(self._dues) < max(self._next_check, self._stop.min_requests):
            return None
        self._next_check = precision.next_check(len(self._dues))
        dues, values = np.array(self._dues), np.array(self._values)
        if np.ptp(dues) < self._stop.min_duration:
            return None
        return "precision" if precision.is_met(values[np.argsort(dues)]) else None
