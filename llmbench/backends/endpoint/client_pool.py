"""Client processes that each send a shard of one load, on a common clock."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import msgspec

from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.answer_log import AnswerLog, LoggedAnswers
from llmbench.backends.endpoint.balancing import Upstream
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.measured_serve import Served, merged
from llmbench.backends.endpoint.openai_types import Payload
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.environment import child_process
from llmbench.environment.child_process import Child
from llmbench.errors import MeasurementError
from llmbench.loads.abandonment import Abandonment
from llmbench.loads.clock import Clock, MonotonicClock
from llmbench.loads.dispatch import Arrivals, Dispatch, Limit, RequestCycle, Shard
from llmbench.loads.progress import NOTHING_YET, Progress
from llmbench.loads.stopping import Stop

MODULE = f"{__package__}.client_process"
READY = "ready"
END = b""  # of a client's answers
START_SECONDS = 60.0

T = TypeVar("T")


class Job(msgspec.Struct, frozen=True):
    """The servers that a client process sends requests to."""

    options: dict[str, Any]
    addresses: tuple[Address, ...]
    others: tuple[Upstream, ...] = ()
    pinned: dict[str, int] = {}
    seed: int = 0

    @classmethod
    def of(cls, options: EndpointOptions, target: Target) -> Job:
        """Return the job of a client process, without `server`, which it must not start again."""
        # the options of a scenario also have `kind` and `name`
        fields = EndpointOptions.model_fields.keys() - {"server"}
        own = options.model_dump(mode="json", include=set(fields))
        own["needs_done"] = target.needs_done
        servers, pinned = target.balance.servers, dict(target.balance.pinned)
        addresses = tuple(upstream.address for upstream in target.upstreams[:servers])
        others = target.upstreams[servers:]
        return cls(own, addresses, others, pinned, target.balance.seed)

    def target(self) -> Target:
        """Return the servers and connection settings that requests are sent with."""
        options = EndpointOptions(**self.options)
        return options.target(
            *self.addresses, others=self.others, pinned=self.pinned, seed=self.seed
        )


class Work(msgspec.Struct, frozen=True):
    """A message to a client process: its shard of the load, and what all shards have in common.

    ``arrivals_class`` is the module and name of the arrivals' class, which the process imports.
    """

    requests: RequestCycle
    arrivals_class: tuple[str, str]
    arrivals: Any
    stop: Stop
    limit: Limit
    abandonment: Abandonment | None
    clock: MonotonicClock
    payload: Payload

    @classmethod
    def of(cls, shard: Shard, clock: Clock, payload: Payload) -> Work:
        """Return a shard in a form that can be sent to a client process."""
        kind = type(shard.arrivals)
        assert isinstance(clock, MonotonicClock)  # noqa: S101 (the only clock that processes share)
        name = (kind.__module__, kind.__qualname__)
        return cls(
            shard.requests,
            name,
            shard.arrivals,
            shard.stop,
            shard.limit,
            shard.abandonment,
            clock,
            payload,
        )

    def dispatch(self) -> Dispatch:
        """Return a Dispatch that yields the shard's requests as they fall due."""
        module, name = self.arrivals_class
        kind = getattr(importlib.import_module(module), name)
        arrivals: Arrivals = child_process.converted(self.arrivals, kind)
        return Dispatch(self.requests, arrivals, self.stop, self.limit, self.abandonment)


class Report(msgspec.Struct, frozen=True):
    """A message from a client process: its progress, or its result, before its answers."""

    progress: Progress | None = None
    served: Served | None = None


class ClientPool:
    """Client processes that wait for their shards of a load."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children

    def serve(
        self, payload: Payload, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> Served:
        """Send each client process its shard of the load and return the merged results.

        The clock should read 0 only after every client has its shard. Raises MeasurementError if a
        client process exits early.
        """
        children = self._children[: max(1, len(dispatch.due_times))]
        for index, child in enumerate(children):
            child.send(Work.of(dispatch.shard(index, len(children)), clock, payload))
        before = dict.fromkeys(children, NOTHING_YET)
        served: dict[Child, Served] = {}
        logs: dict[Child, AnswerLog] = {}
        while waiting := [child for child in children if child not in served]:
            for child in child_process.ready(waiting):
                report = _received(child, Report)
                if report.served:
                    served[child] = report.served
                    logs[child] = _received_answers(child)
                elif report.progress:
                    dispatch.add_progress(before[child], report.progress)
                    before[child] = report.progress
                    on_progress()
        answers = LoggedAnswers([logs[child] for child in children], dispatch.requests)
        result = merged([served[child] for child in children], answers)
        dispatch.conclude(result.summary)
        return result


@contextmanager
def start_clients(options: EndpointOptions, target: Target) -> Iterator[ClientPool]:
    """Start client processes, wait until they are ready, and end them with the context."""
    job = Job.of(options, target)
    with ExitStack() as stack:
        children = [
            stack.enter_context(child_process.start(MODULE, job)) for _ in range(options.clients)
        ]
        for child in children:
            if not child.poll(START_SECONDS) or _received(child, str) != READY:
                raise MeasurementError(
                    "endpoint: a client process did not start in time; lower `clients`"
                )
        yield ClientPool(children)


def _received(child: Child, kind: type[T]) -> T:
    with _reading():
        return child.receive(kind)


def _received_answers(child: Child) -> AnswerLog:
    log = AnswerLog()
    with _reading():
        for chunk in iter(child.receive_bytes, END):
            log.extend(chunk)
    return log


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except EOFError:
        raise MeasurementError(
            "endpoint: a client process exited early, perhaps out of memory; free some memory, or "
            "lower `clients`"
        ) from None
