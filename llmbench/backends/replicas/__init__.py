"""Replicas: several processes that each serve the same local backend, with a balancer before them.

The process of the run holds the dispatch and gives each due request to a replica, which serves it
with the ordinary engine and reports it when it has finished. All read the same clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from llmbench.backends.base import (
    BACKENDS,
    Backend,
    BackendReport,
    NothingKept,
    OpenContext,
    Output,
    Server,
)
from llmbench.backends.replicas.cores import core_sets, gpu_of, shared_caveats
from llmbench.backends.replicas.messages import Job, Place
from llmbench.backends.replicas.pool import BalancedLoad, Replica, started
from llmbench.backends.replicas.reports import merged
from llmbench.loads.clock import Clock, MonotonicClock
from llmbench.loads.closed import one_after_another
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.cases import Case
from llmbench.scenario.replicas import ReplicasOptions

__all__ = ["Replicated", "backend_of"]

LEAD_SECONDS = 0.1  # before the clock reads 0, so that the begin of a load delays no request


def backend_of(case: Case) -> Backend:
    """Return the backend of a case, in replicas if it has these."""
    replicas = case.scenario.replicas
    options = case.backend_options
    return Replicated(options, replicas) if replicas else BACKENDS.part(options)


class Replicated(Backend):
    """Replicas of a local backend."""

    def __init__(self, backend: Any, replicas: ReplicasOptions) -> None:
        super().__init__(backend)
        self._replicas = replicas

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[ReplicatedServer]:
        """Start the replicas, and yield a server that balances a load among them when all are warm.

        Raises as the backend does.
        """
        options = self._replicas
        cores = core_sets(options)
        places = (
            Place(index, cores[index], gpu_of(options.devices, index), options.size == 1)
            for index in range(options.size)
        )
        jobs = [Job.of(self.options, context, place) for place in places]
        with started(jobs, context.on_stage) as replicas:
            yield ReplicatedServer(options, context, cores, replicas)


@dataclass(slots=True)
class ReplicatedServer(Server):
    """Warm replicas and the balancer before them."""

    options: ReplicasOptions
    context: OpenContext
    cores: Sequence[tuple[int, ...]]
    replicas: Sequence[Replica]
    lost: Sequence[Caveat] = ()
    outputs: dict[int, Output] = field(default_factory=dict)
    reports: Sequence[BackendReport | None] = ()

    def new_clock(self) -> MonotonicClock:
        """Return a clock that reads 0 when all replicas know that the load begins."""
        return MonotonicClock(time.monotonic() + LEAD_SECONDS)

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> list[Record]:
        """Balance the load among the replicas."""
        assert isinstance(clock, MonotonicClock)  # noqa: S101 (the only clock that processes share)
        policy, seed = self.options.balance, self.context.seed
        load = BalancedLoad(self.replicas, policy, seed, dispatch, clock, on_progress)
        records = load.serve()
        self.lost = tuple(load.caveats)
        self.reports = [replica.report for replica in self.replicas]
        self.outputs = Output.of_records(records) if self.context.keep_answers else {}
        return self.context.as_stored(records)

    def answers(self) -> Mapping[int, Output]:
        """Return the token ids of the complete answers of the load."""
        return self.outputs

    def answer_alone(self, requests: Sequence[Request]) -> list[Output]:
        """Serve requests one by one, on the first replica that is left."""
        alive = [replica for replica in self.replicas if replica.lost is None]
        dispatch, clock = one_after_another(requests), self.new_clock()
        load = BalancedLoad(alive[:1], "round-robin", 0, dispatch, clock, lambda: None)
        records = load.serve()
        outputs = {record.request_id: Output(record.output_ids or ()) for record in records}
        if any(output.symbols == () for output in outputs.values()):
            raise NothingKept("this backend keeps no answers to compare")
        return [outputs[request.id] for request in requests]

    def report(self) -> BackendReport:
        """Return the report of all replicas together, with their number, policy and cores."""
        report = merged(self.reports)
        own = {"replicas": self.options.size, "balance": self.options.balance}
        cores = [list(cores) for cores in self.cores]
        devices = report.effective.get("device")
        each = devices if isinstance(devices, list) else [devices] * len(self.cores)
        return replace(
            report,
            requested={**report.requested, **own, "cores": cores},
            effective={**report.effective, **own, "cores": cores},
            caveats=(*self.lost, *shared_caveats(self.cores, each), *report.caveats),
        )
