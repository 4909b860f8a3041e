"""A planned load on replicas that jump from event to event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Any

import numpy as np

from llmbench.backends.balancing import POLICIES, Choice
from llmbench.scenario.replicas import Policy
from llmbench.simulation.draws import Draws
from llmbench.simulation.fast import FastReplica
from llmbench.simulation.plan import Floats, Integers, Plan, Served


def serve_alone(plan: Plan, engine: FastReplica) -> Served:
    """Serve a plan on an engine in the process of the load."""
    _arrive(engine, plan, np.arange(len(plan)), plan.due)
    engine.advance(inf)
    return _served(plan, [engine], None)


def serve_balanced(
    plan: Plan, replicas: Sequence[FastReplica], lags: Sequence[Draws], policy: Policy, seed: int
) -> Served:
    """Serve a plan on replicas; each request reaches its replica after the next of its lags."""
    if policy == "round-robin" or len(replicas) == 1:
        chosen = _in_turn(plan, replicas, lags)
    else:
        chosen = np.fromiter(_by_load(plan, replicas, lags, policy, seed), np.int64, len(plan))
    for replica in replicas:
        replica.advance(inf)
    return _served(plan, replicas, chosen)


def _in_turn(plan: Plan, replicas: Sequence[FastReplica], lags: Sequence[Draws]) -> Integers:
    """Send request k to replica k mod n, as `Choice.in_turn` does; return the replicas."""
    for index, (replica, own) in enumerate(zip(replicas, lags, strict=True)):
        requests = np.arange(index, len(plan), len(replicas))
        arrivals = plan.due[requests] + own.take(len(requests))
        order = np.argsort(arrivals, kind="stable")
        _arrive(replica, plan, requests[order], arrivals[order])
    return np.arange(len(plan)) % len(replicas)


def _arrive(replica: FastReplica, plan: Plan, requests: Integers, arrivals: Floats) -> None:
    """Add requests, which arrive in this order."""
    replica.requests = requests.tolist()
    replica.arrivals = arrivals.tolist()
    replica.prompts = plan.prompts[requests].tolist()
    replica.outputs = plan.outputs[requests].tolist()


def _by_load(
    plan: Plan, replicas: Sequence[FastReplica], lags: Sequence[Draws], policy: Policy, seed: int
) -> Iterable[int]:
    """Send each request to the replica that a policy chooses, and yield that."""
    loads = _Compared(replicas) if policy == "two-choices" else _Loads(replicas)
    choose, everyone = POLICIES[policy], range(len(replicas))
    prompts, outputs = plan.prompts.tolist(), plan.outputs.tolist()
    for number, due in enumerate(plan.due.tolist()):
        in_flight = loads.at(due)
        chosen = choose(Choice(plan.requests[number], in_flight, everyone, seed))
        arrival = due + lags[chosen].next()
        replicas[chosen].arrive(number, arrival, prompts[number], outputs[number])
        loads.add(chosen, due, outputs[number])
        yield chosen


class _Compared(Sequence[int]):
    """The requests in flight on each replica at a moment; only those that are read advance."""

    def __init__(self, replicas: Sequence[FastReplica]) -> None:
        self._replicas = replicas
        self._moment = 0.0

    def __len__(self) -> int:
        return len(self._replicas)

    def __getitem__(self, index: Any) -> Any:
        return self._replicas[index].in_flight(self._moment)

    def at(self, moment: float) -> Sequence[int]:
        """Return the requests in flight at a moment; those that finish then no longer are."""
        self._moment = moment
        return self

    def add(self, index: int, moment: float, output: int) -> None:
        """Do nothing, since the replica has the request."""


class _Loads:
    """The requests in flight on each replica, as time goes on.

    A replica advances only when one of its requests may have finished.
    """

    def __init__(self, replicas: Sequence[FastReplica]) -> None:
        self._replicas = replicas
        self._in_flight = [0] * len(replicas)
        self._look_at = [inf] * len(replicas)
        self._next: list[tuple[float, int]] = []

    def at(self, moment: float) -> list[int]:
        """Return the requests in flight at a moment; those that finish then no longer are."""
        following, due = self._next, []
        while following and following[0][0] <= moment:
            look_at, index = heappop(following)
            if look_at == self._look_at[index]:  # else there is a newer entry
                self._look_at[index] = inf
                due.append(index)
        for index in due:
            replica = self._replicas[index]
            self._in_flight[index] = replica.in_flight(moment)
            self._look(index, replica.next_finish())
        return self._in_flight

    def add(self, index: int, moment: float, output: int) -> None:
        """Count a request of ``output`` tokens that a replica gets."""
        self._in_flight[index] += 1
        if self._replicas[index].may_finish_first(output):
            self._look(index, moment)

    def _look(self, index: int, moment: float) -> None:
        """Look at a replica again when a moment has come."""
        if moment != self._look_at[index]:
            self._look_at[index] = moment
            if moment < inf:
                heappush(self._next, (moment, index))


def _served(plan: Plan, replicas: Sequence[FastReplica], chosen: Integers | None) -> Served:
    """Return when the requests were served, from what each replica did."""
    sent, started, first = (np.empty(len(plan)) for _ in range(3))
    decoded = np.empty(len(plan), dtype=np.int64)
    offset = 0
    for replica in replicas:
        own = np.array(replica.requests, dtype=np.int64)
        sent[own] = _sent(replica)
        started[own], first[own] = replica.started, replica.first
        decoded[own] = np.array(replica.decoded, dtype=np.int64) + offset
        offset += len(replica.ends)
    ends = np.concatenate([np.asarray(replica.ends) for replica in replicas])
    return Served(sent, started, first, decoded, ends, chosen)


def _sent(replica: FastReplica) -> Floats:
    """Return when each request was admitted: between two steps, or at the end of a wait."""
    begins = np.concatenate([[0.0], replica.ends, replica.first, replica.wakes])
    begins.sort()
    sent: Floats = begins[np.searchsorted(begins, replica.arrivals)]
    return sent
