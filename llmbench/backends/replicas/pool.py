"""Replicas of a backend in processes of their own, and the balancing of a load among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from llmbench.backends.balancing import Choice
from llmbench.backends.base import BackendReport
from llmbench.backends.replicas.messages import END, Due, Failed, Finished, Job, News, Order
from llmbench.environment import child_process
from llmbench.environment.child_process import Child
from llmbench.errors import InputError, MeasurementError, OutOfMemoryError
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import UNANSWERED, Dispatch
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.replicas import Policy

MODULE = f"{__package__}.process"


@dataclass(eq=False, slots=True)
class Replica:
    """A replica, as the balancing process sees it.

    ``in_flight`` has its requests with their due times and the times when it got them. ``lost`` is
    why it serves no longer.
    """

    index: int
    child: Child
    in_flight: dict[int, tuple[Request, float, float]] = field(default_factory=dict)
    report: BackendReport | None = None
    lost: str | None = None

    def news(self) -> News:
        """Return the next message, which is that it failed if its process has ended."""
        try:
            return self.child.receive(News)
        except EOFError:
            return News(failed=Failed(MeasurementError.kind, self.child.how_ended()))


@contextmanager
def started(jobs: Sequence[Job], on_stage: Callable[[str], None]) -> Iterator[list[Replica]]:
    """Start a replica for each job, wait until all are warm, and end them with the context.

    ``on_stage`` is called with the stages of the first. Raises what kept one from being ready.
    """
    with ExitStack() as stack:
        replicas = [
            Replica(index, stack.enter_context(child_process.start(MODULE, job)))
            for index, job in enumerate(jobs)
        ]
        waiting = set(replicas)
        while waiting:
            for replica in ready(waiting, None):
                news = replica.news()
                if news.failed:
                    raise _error(replica, news.failed)
                if news.is_ready:
                    waiting.remove(replica)
                elif news.stage and replica.index == 0:
                    on_stage(news.stage)
        yield replicas


def ready(replicas: set[Replica] | Sequence[Replica], timeout: float | None) -> list[Replica]:
    """Wait up to ``timeout`` seconds; return the replicas that have news."""
    by_child = {replica.child: replica for replica in replicas}
    return [by_child[child] for child in child_process.ready(list(by_child), timeout)]


def _error(replica: Replica, failed: Failed) -> Exception:
    """Return the error of a replica that did not become ready."""
    if failed.kind == "bad-input":
        return InputError(failed.message)
    kind = OutOfMemoryError if failed.kind == OutOfMemoryError.kind else MeasurementError
    return kind(f"replica {replica.index} did not become ready: {failed.message}")


@dataclass(slots=True)
class BalancedLoad:
    """A load that is balanced among replicas by a policy, until its dispatch is finished.

    Loads are requests in flight, by the balancing process's own count. The requests of a replica
    that ends are failed, and those that follow go to the others; ``caveats`` tell of it.
    """

    replicas: Sequence[Replica]
    policy: Policy
    seed: int
    dispatch: Dispatch
    clock: MonotonicClock
    on_progress: Callable[[], None]
    records: list[Record] = field(default_factory=list)
    caveats: list[Caveat] = field(default_factory=list)

    def serve(self) -> list[Record]:
        """Serve the load; return its records, and keep the reports of the replicas.

        Raises MeasurementError if all replicas are lost.
        """
        for replica in self._alive:
            replica.report = None
            replica.child.send(Order(origin=self.clock.origin))
        while not self.dispatch.finished:
            self._send_due()
            self._receive(self._alive, self._seconds_until_due())
        for replica in self._alive:
            replica.child.send(END)
        while waiting := [replica for replica in self._alive if replica.report is None]:
            self._receive(waiting, None)
        return self.records

    @property
    def _alive(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.lost is None]

    def _seconds_until_due(self) -> float | None:
        due = self.dispatch.next_due()
        return None if due is None else max(0.0, due - self.clock.now())

    def _send_due(self) -> None:
        for request, due in self.dispatch.take_due(self.clock.now()):
            replica = self._chosen(request)
            replica.in_flight[request.id] = request, due, self.clock.now()
            alone = replace(request, turns=()) if request.turns else request
            replica.child.send(Order(due=Due(alone, due, wants_answer=bool(request.turns))))

    def _chosen(self, request: Request) -> Replica:
        loads = [len(replica.in_flight) for replica in self.replicas]
        available = [index for index, replica in enumerate(self.replicas) if not replica.lost]
        return self.replicas[Choice(request, loads, available, self.seed).by(self.policy)]

    # -- what replicas report ----------------------------------------------------------------------

    def _receive(self, replicas: Sequence[Replica], timeout: float | None) -> None:
        for replica in ready(replicas, timeout):
            news = replica.news()
            if news.failed:
                self._lose(replica, news.failed.message)
            for finished in news.finished:
                self._finish(replica, finished)
            self.records += [replace(record, replica=replica.index) for record in news.records]
            replica.report = news.report or replica.report
            if news.finished or news.failed:
                self.on_progress()

    def _finish(self, replica: Replica, finished: Finished) -> None:
        request, _, _ = replica.in_flight.pop(finished.request_id)
        outcome, record = finished.outcome, finished.record
        if record:
            outcome = replace(outcome, token_times=record.token_times)
            self.records.append(
                replace(record, replica=replica.index, job_requests=request.job_requests)
            )
        self.dispatch.finish(request.id, finished.at, outcome)

    def _lose(self, replica: Replica, reason: str) -> None:
        """Fail the requests of a replica that has ended."""
        now, lost = self.clock.now(), list(replica.in_flight.values())
        replica.lost, replica.report = reason, None
        replica.in_flight.clear()
        if not self._alive:
            raise MeasurementError(f"no replica is left: the last one, {replica.index}, {reason}")
        index, requests = replica.index, len(lost)
        self.caveats.append(
            Caveat("replica-lost", replica=index, seconds=now, reason=reason, requests=requests)
        )
        for request, due, sent in lost:
            self.records.append(_lost(request, due, sent, replica))
            self.dispatch.finish(request.id, now, UNANSWERED)


def _lost(request: Request, due: float, sent: float, replica: Replica) -> Record:
    message = f"replica {replica.index} {replica.lost} while it had this request"
    return Record.of(
        request, due, sent, "error",
        error_kind="replica-lost", error_message=message, replica=replica.index,
    )  # fmt: skip
