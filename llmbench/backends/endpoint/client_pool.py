"""Several client processes on one load: each has a shard of it, and all have one clock."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.exchange import Answer
from llmbench.backends.endpoint.measured_serve import Served, merged
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.backends.endpoint.request_body import Payload
from llmbench.environment import child_process
from llmbench.environment.child_process import Child
from llmbench.errors import MeasurementError
from llmbench.loads.clock import Clock, MonotonicClock
from llmbench.loads.dispatch import Arrivals, Dispatch, Limit, LoadSummary, RequestCycle, Shard
from llmbench.loads.progress import NOTHING_YET, Progress
from llmbench.loads.stopping import Stop

MODULE = f"{__package__}.client_process"
READY = "ready"
START_SECONDS = 60.0

T = TypeVar("T")


class Job(msgspec.Struct, frozen=True):
    """What a client sends, and where."""

    options: dict[str, Any]
    address: tuple[str, int]
    payload: Payload

    def target(self) -> Target:
        """Return where requests go and how."""
        return EndpointOptions(**self.options).target(*self.address)


class Work(msgspec.Struct, frozen=True):
    """A shard of a load and the clock, whose arrivals are of a class that the client imports."""

    requests: RequestCycle
    arrivals_class: tuple[str, str]
    arrivals: Any
    stop: Stop
    limit: Limit
    clock: MonotonicClock

    @classmethod
    def of(cls, shard: Shard, clock: Clock) -> Work:
        """Return the work for a shard."""
        kind = type(shard.arrivals)
        assert isinstance(clock, MonotonicClock)  # noqa: S101 (no other is one for all processes)
        return cls(
            shard.requests,
            (kind.__module__, kind.__qualname__),
            shard.arrivals,
            shard.stop,
            shard.limit,
            clock,
        )

    def dispatch(self) -> Dispatch:
        """Return what hands out the requests."""
        module, name = self.arrivals_class
        kind = getattr(importlib.import_module(module), name)
        arrivals: Arrivals = child_process.converted(self.arrivals, kind)
        return Dispatch(self.requests, arrivals, self.stop, self.limit)


class Done(msgspec.Struct, frozen=True):
    """What a client has served."""

    answers: list[Answer]
    counts: dict[str, int]
    summary: LoadSummary
    took: dict[str, float | None]

    @classmethod
    def of(cls, served: Served) -> Done:
        """Return the data of what was served."""
        names = [field.name for field in fields(Answer)]
        answers = [
            Answer(**{name: getattr(answer, name) for name in names}) for answer in served.exchanges
        ]
        return cls(answers, dict(served.counts), served.summary, served.took)

    def served(self) -> Served:
        """Return what was served."""
        return Served(self.answers, Counter(self.counts), self.summary, self.took)


class Report(msgspec.Struct, frozen=True):
    """How far a client is, or what it has served once it is done."""

    progress: Progress | None = None
    done: Done | None = None


class Clients:
    """Processes that wait for their part of a load."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children

    def serve(self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[int], None]) -> Served:
        """Send each client its shard and wait for all of them.

        The clock should begin a little later, so that all have theirs when the first is due.
        Raises MeasurementError when a client dies.
        """
        children = self._children[: max(1, len(dispatch.due_times))]
        for index, child in enumerate(children):
            child.send(Work.of(dispatch.shard(index, len(children)), clock))
        before = dict.fromkeys(children, NOTHING_YET)
        served: dict[Child, Served] = {}
        while waiting := [child for child in children if child not in served]:
            for child in child_process.ready(waiting):
                report = _received(child, Report)
                if report.done:
                    served[child] = report.done.served()
                elif report.progress:
                    dispatch.add_progress(before[child], report.progress)
                    before[child] = report.progress
                    on_progress(dispatch.completed)
        whole = merged([served[child] for child in children])
        dispatch.conclude(whole.summary)
        return whole


@contextmanager
def started(
    options: EndpointOptions, address: tuple[str, int], target: Target, payload: Payload
) -> Iterator[Clients]:
    """Start the clients and wait until each is ready; they end with the context."""
    own = options.model_dump(mode="json", exclude={"server"})
    job = Job({**own, "needs_done": target.needs_done}, address, payload)
    with ExitStack() as stack:
        children = [
            stack.enter_context(child_process.start(MODULE, job)) for _ in range(options.clients)
        ]
        for child in children:
            if not child.poll(START_SECONDS) or _received(child, str) != READY:
                raise MeasurementError("endpoint: a client process does not start; try fewer")
        yield Clients(children)


def _received(child: Child, kind: type[T]) -> T:
    try:
        return child.receive(kind)
    except EOFError:
        raise MeasurementError(
            "endpoint: a client process has ended before its load; memory may have run out"
        ) from None
