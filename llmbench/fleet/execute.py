"""Measure planned runs on the nodes of a cluster, as many at once as the nodes allow."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from llmbench.campaign import execute
from llmbench.campaign.job import Job
from llmbench.campaign.observer import Listener, Observer
from llmbench.errors import MeasurementError
from llmbench.fleet import placement
from llmbench.fleet.backlog import MAX_ATTEMPTS, Backlog, Place, place_of
from llmbench.fleet.connect import Cluster
from llmbench.fleet.launcher import NodeLauncher, NodeLostError, claimed
from llmbench.fleet.nodes import Node
from llmbench.fleet.waiting import Waiting
from llmbench.runs import store
from llmbench.runs.run import Failure, PlannedRun, Run
from llmbench.runs.run_set import RunSet

MAX_THREADS = 4096
LOOK_SECONDS = 1.0
HEAD_SECONDS = 5.0  # without an answer until the head counts as lost
LOST_KIND = NodeLostError.kind

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FleetLauncher:
    """Runs one job at a time, each on the first node by name that can hold its case."""

    cluster: Cluster

    def launch(self, module: str, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Run a job on a node, as soon as others have released it, and store what it measured.

        Raises InputError if no node can hold the case, NodeLostError if the node is lost.
        """
        nodes = self.cluster.nodes(logger.warning)
        placement.check([job.case], nodes)
        node = next(node for node in nodes if placement.can_hold(node, job.case))
        place = place_of(PlannedRun(job.case, job.repeat), node)
        with claimed(node, *place, lambda: False) as launcher:
            listener.stage(f"waiting for the node {node.name}")
            launcher.is_granted(lambda: True)
            return launcher.launch(module, job, timeout, listener)


class FleetObserver(Protocol):
    """Receives the events of a fleet."""

    def on_node(self, name: str) -> Observer:
        """Return the observer of one of the runs at a time that a node measures."""

    def remark(self, text: str) -> None:
        """Called with a message about the fleet, such as a node that was lost."""

    def waiting(self, messages: Sequence[str]) -> None:
        """Called about every second with messages about the runs that wait for others' work."""


class ClusterLostError(MeasurementError):
    """The head of a cluster no longer answers."""


def run_all(run_set: RunSet, cluster: Cluster, observer: FleetObserver) -> RunSet:
    """Measure the planned runs that are not yet measured; return the complete run set.

    A run whose node is lost is measured elsewhere, at most MAX_ATTEMPTS times. KeyboardInterrupt
    ends the current runs and propagates; finished runs are already stored. Raises InputError if no
    node can hold a run, ClusterLostError if the head no longer answers.
    """
    nodes = cluster.nodes()
    placement.check((planned.case for planned in run_set.missing), nodes)
    fleet = _Fleet(run_set, cluster, observer)
    pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="node")
    is_lost = False
    try:
        fleet.run(pool, nodes)
    except ClusterLostError:
        is_lost = True
        raise
    finally:
        fleet.backlog.stop()  # threads end their actors, and then themselves
        pool.shutdown(wait=not is_lost)  # they may wait for the head for a minute
    return store.read(run_set.folder)


class _Fleet:
    """The threads that serve nodes: each claims a place, measures a run there, and releases it."""

    def __init__(self, run_set: RunSet, cluster: Cluster, observer: FleetObserver) -> None:
        self._run_set = run_set
        self._cluster = cluster
        self._observer = observer
        self._missing = run_set.missing
        self._threads: list[Future[None]] = []
        self._known: set[str] = set()
        self._answered = time.monotonic()
        self._look: Future[list[Node]] | None = None
        self.backlog = Backlog(self._missing)
        self._waiting = Waiting(self.backlog)

    def run(self, pool: ThreadPoolExecutor, nodes: Sequence[Node]) -> None:
        """Serve all nodes, also those that join later, until all runs are finished."""
        while not self.backlog.is_over:
            self._serve_new(pool, nodes)
            self._fail_hopeless(nodes)
            ended, pending = wait(self._threads, LOOK_SECONDS, FIRST_COMPLETED)
            self._threads = list(pending)
            for thread in ended:
                thread.result()  # raises its error
            self._check_head()
            self._observer.waiting(self._waiting.messages())
            nodes = self._looked(pool) or nodes

    def _looked(self, pool: ThreadPoolExecutor) -> list[Node]:
        """Return the nodes if Ray has listed them, which takes a minute without a head."""
        self._look = self._look or pool.submit(self._cluster.nodes, self._observer.remark)
        if not self._look.done():
            return []
        nodes, self._look = self._look.result(), None
        return nodes

    def _check_head(self) -> None:
        """Raise ClusterLostError if the head has not answered for HEAD_SECONDS."""
        if not self._cluster.is_lost():
            self._answered = time.monotonic()
        elif time.monotonic() - self._answered > HEAD_SECONDS:
            self._fail_all()

    def _serve_new(self, pool: ThreadPoolExecutor, nodes: Sequence[Node]) -> None:
        cases = [planned.case for planned in self._missing]
        alive = {node.id for node in nodes}
        for node in nodes:
            if node.id not in self._known:
                for _ in range(placement.most_at_once(node, cases)):
                    self._threads.append(pool.submit(self._serve, node))
        self._known = alive

    def _serve(self, node: Node) -> None:
        """Measure runs on a node until it is lost or none is left that it can hold."""
        observer = self._observer.on_node(node.name)
        while (place := self.backlog.next_place(node)) is not None:
            try:
                self._measure_one(node, place, observer)
            except NodeLostError as error:
                if self.backlog.is_stopped:
                    return
                self._observer.remark(str(error))
                time.sleep(2 * LOOK_SECONDS)  # until nodes have been looked up
                if node.id not in self._known:
                    return

    def _measure_one(self, node: Node, place: Place, observer: Observer) -> None:
        with claimed(node, *place, lambda: self.backlog.is_stopped) as launcher:
            with self._waiting.added(node, place):
                is_granted = launcher.is_granted(lambda: bool(self.backlog.next_run(node, place)))
            if is_granted and (taken := self.backlog.take(node, place)):
                planned, number = taken
                observer.began(planned, number, self.backlog.total, node.name)
                self._measure(planned, launcher, observer)

    def _measure(self, planned: PlannedRun, launcher: NodeLauncher, observer: Observer) -> None:
        """Measure a run and store it; a run whose node is lost waits for another node, or fails."""
        try:
            run = execute.run_one(self._run_set, planned, observer, launcher)
        except NodeLostError as error:
            if self.backlog.is_stopped:
                raise
            if not self.backlog.put_back(planned):
                message = f"{error}; it was the last of {MAX_ATTEMPTS} attempts"
                observer.ended(self._store_failed(planned, message))
                self.backlog.finish(planned)
            raise
        if "node" not in run.facts:  # it failed
            fact = launcher.node.as_fact()
            run = store.with_facts(self._run_set.folder, run, node=fact)
        observer.ended(run)
        self.backlog.finish(planned)

    def _fail_hopeless(self, nodes: Sequence[Node]) -> None:
        """Store the waiting runs that no node can hold any more as failed."""
        for planned in self.backlog.withdraw(
            lambda waiting: not any(placement.can_hold(node, waiting.case) for node in nodes)
        ):
            reason = f"a node was lost, and {placement.why_none(planned.case, nodes)}"
            self._observer.on_node("fleet").ended(self._store_failed(planned, reason))

    def _fail_all(self) -> NoReturn:
        """Store the runs in progress as failed; raises ClusterLostError."""
        self.backlog.stop()
        reason = f"the head of the cluster {self._cluster.address} no longer answers"
        for planned, node in list(self.backlog.in_progress.values()):
            self._store_failed(planned, f"{reason}; the run was in progress on {node.name}")
        raise ClusterLostError(f"{reason}; start it again")

    def _store_failed(self, planned: PlannedRun, message: str) -> Run:
        began_at = datetime.now(UTC).isoformat(timespec="seconds")
        failed = Run(planned.case, planned.repeat, began_at, failure=Failure(LOST_KIND, message))
        store.write_run(self._run_set.folder, failed)
        return failed
