"""Simulated replicas: an engine each, and the balancer before them, on one virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any

import numpy as np

from llmbench.backends.balancing import Choice
from llmbench.engine.engine import Engine
from llmbench.loads.clock import VirtualClock
from llmbench.loads.dispatch import ANSWERED, Dispatch, RequestOutcome
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.replicas import Policy
from llmbench.simulation.draws import Draws

FINISHED, ARRIVED, TURN = range(3)  # what happens first at the same time; due requests come second


class Arrived(Dispatch):
    """The requests that have reached a replica; its engine waits until the horizon for more."""

    def __init__(self) -> None:
        super().__init__((), Scheduled(np.empty(0)), Stop())
        self.arrived: deque[tuple[Request, float]] = deque()
        self.outcomes: list[tuple[int, float, RequestOutcome]] = []
        self.horizon = inf

    @property
    def finished(self) -> bool:
        """Whether no request follows: never, since the balancer knows that."""
        return False

    def next_due(self) -> float | None:
        """Return the time until which nothing can arrive."""
        return self.horizon

    def take_due(self, now: float) -> list[tuple[Request, float]]:  # noqa: ARG002 (what arrived is due)
        """Return the requests that have arrived, with their due times."""
        taken = list(self.arrived)
        self.arrived.clear()
        return taken

    def finish(self, request_id: int, now: float, outcome: RequestOutcome = ANSWERED) -> None:
        """Note the outcome of a request."""
        self.outcomes.append((request_id, now, outcome))

    def recorded(self, record: Record) -> None:
        """Do nothing: the engine returns the record."""


@dataclass(slots=True)
class Replica:
    """A simulated replica; ``lags`` are the times from due times until requests arrive."""

    index: int
    engine: Engine
    clock: VirtualClock
    lags: Draws
    in_flight: int = 0
    inbox: Arrived = field(default_factory=Arrived)
    is_scheduled: bool = False


@dataclass(slots=True)
class Balanced:
    """A load that is balanced among simulated replicas by a policy.

    Events happen in the order of their times. Loads are requests in flight, as in `BalancedLoad`.
    """

    replicas: list[Replica]
    policy: Policy
    seed: int
    dispatch: Dispatch
    records: list[Record] = field(default_factory=list)
    _events: list[tuple[float, int, int, Any]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)
    _jobs: dict[int, int | None] = field(default_factory=dict)

    def serve(self) -> list[Record]:
        """Serve the load and return its records."""
        for replica in self.replicas:
            replica.engine.begin(replica.inbox)
        handlers: dict[int, Callable[[float, Any], None]] = {
            FINISHED: self._finish, ARRIVED: self._arrive, TURN: self._turn,
        }  # fmt: skip
        now = 0.0
        while not self.dispatch.finished:
            due = self.dispatch.next_due()
            if self._is_next(due, now):
                now = max(now, due or 0.0)
                self._send(now)
                continue
            now, kind, _, item = heappop(self._events)
            handlers[kind](now, item)
        return self.records

    def _is_next(self, due: float | None, now: float) -> bool:
        """Return whether the next due request comes before the next event."""
        if due is None:
            return False
        return not self._events or self._events[0][:2] > (max(now, due), FINISHED)

    def _add(self, moment: float, kind: int, item: Any) -> None:
        heappush(self._events, (moment, kind, next(self._order), item))

    def _send(self, now: float) -> None:
        for request, due in self.dispatch.take_due(now):
            loads = [replica.in_flight for replica in self.replicas]
            choice = Choice(request, loads, range(len(loads)), self.seed)
            replica = self.replicas[choice.by(self.policy)]
            replica.in_flight += 1
            self._jobs[request.id] = request.job_requests
            alone = replace(request, turns=()) if request.turns else request
            self._add(now + replica.lags.next(), ARRIVED, (replica, alone, due))

    def _arrive(self, now: float, item: tuple[Replica, Request, float]) -> None:
        replica, request, due = item
        replica.inbox.arrived.append((request, due))
        if not replica.is_scheduled:
            replica.clock.sleep_until(now)
            self._schedule(replica)

    def _schedule(self, replica: Replica) -> None:
        replica.is_scheduled = True
        self._add(replica.clock.now(), TURN, replica)

    def _turn(self, now: float, replica: Replica) -> None:
        """Run one step of a replica, which nothing that happens later can affect."""
        del now
        due = self.dispatch.next_due()
        following = self._events[0][0] if self._events else inf
        replica.inbox.horizon = min(following, inf if due is None else due)
        finished = replica.engine.turn(replica.inbox)
        outcomes, replica.inbox.outcomes = replica.inbox.outcomes, []
        for record, outcome in zip(finished, outcomes, strict=True):
            self._add(replica.clock.now(), FINISHED, (replica, record, *outcome))
        replica.is_scheduled = False
        if replica.inbox.arrived or not replica.engine.is_idle:
            self._schedule(replica)

    def _finish(self, now: float, item: tuple[Replica, Record, int, float, RequestOutcome]) -> None:
        del now
        replica, record, request_id, ended, outcome = item
        replica.in_flight -= 1
        jobs = self._jobs.pop(request_id)
        self.records.append(replace(record, replica=replica.index, job_requests=jobs))
        self.dispatch.finish(request_id, ended, outcome)
