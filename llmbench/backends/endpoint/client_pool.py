"""Clients that each send a shard of one load, on a common clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import numpy as np

from llmbench.backends.endpoint.answer_log import AnswerLog, LoggedAnswers
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.client_clocks import Correction
from llmbench.backends.endpoint.client_hosts import Client, host_of
from llmbench.backends.endpoint.client_messages import Job, Ready, Report, Work
from llmbench.backends.endpoint.lost_clients import LostRequests
from llmbench.backends.endpoint.measured_serve import Served, merged
from llmbench.backends.endpoint.openai_types import Payload
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.environment import child_process
from llmbench.errors import InputError, MeasurementError
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch, LoadSummary, Shard
from llmbench.loads.progress import NOTHING_YET, Progress
from llmbench.loads.stopping import Reason
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.redaction import redact

MODULE = f"{__package__}.client_process"
START_SECONDS = 60.0
BEFORE_ALL: tuple[Reason, ...] = ("error-rate", "client-lag", "precision")


@dataclass(eq=False, slots=True)
class Member:
    """A client of a pool, with its number, and why it was lost."""

    index: int
    client: Client
    ready: Ready
    lost: str | None = None

    @property
    def name(self) -> str:
        """Its number and machine."""
        return _name(self.index, self.client)

    def check_reach(self, target: Target) -> None:
        """Raise InputError if it is on another machine and cannot connect to a server."""
        if self.client.node is None:
            return  # this process has connected to all of them
        for upstream, trip in zip(target.upstreams, self.ready.round_trips, strict=True):
            if trip is None:
                raise InputError(
                    f"endpoint: {self.name} cannot connect to {redact(upstream.url)}; set a URL by "
                    "which all nodes of the cluster reach the server, such as that of its machine"
                )


def _name(index: int, client: Client) -> str:
    return f"client {index}" + (f" on node {client.node}" if client.node else "")


@dataclass(slots=True)
class ClientPool:
    """Clients that wait for their shards of a load.

    After a load, ``lost`` has the records of requests whose client was lost, and ``caveats`` tell
    of it.
    """

    members: Sequence[Member]
    lost: list[Record] = field(default_factory=list)
    caveats: list[Caveat] = field(default_factory=list)

    @property
    def pacing(self) -> str:
        """The pacing of all clients: precise only if it is that of each."""
        return "precise" if {m.ready.pacing for m in self.members} == {"precise"} else "frugal"

    @property
    def round_trip(self) -> float | None:
        """The least seconds in which one of the clients connected to a server."""
        trips = (trip for member in self.members for trip in member.ready.round_trips)
        return min((trip for trip in trips if trip is not None), default=None)

    @property
    def clock_offsets(self) -> list[dict[str, Any]]:
        """The offset of the clock of each client on another machine, as measured."""
        measured = ((member, member.client.clock.facts) for member in self.members)
        return [
            {"client": m.index, "node": m.client.node, **facts} for m, facts in measured if facts
        ]

    def compare_clocks(self) -> None:
        """Compare the clocks before a load; raises MeasurementError if a client has ended."""
        for member in self._alive:
            try:
                member.client.clock.begin()
            except EOFError:
                member.lost = member.client.how_ended()
                raise _lost_early(member) from None

    def calibrate(self, payload: Payload, dispatch: Dispatch) -> dict[str, float | None]:
        """Serve a load without a server and return the cost of the client that it cost most."""
        load = ShardedLoad(self._alive, dispatch, None, lambda: None)
        return load.serve(payload).cost

    def serve(
        self,
        payload: Payload,
        dispatch: Dispatch,
        clock: MonotonicClock,
        on_progress: Callable[[], None],
    ) -> Served:
        """Send each client its shard of the load and return the merged results.

        The clock should read 0 only after every client has its shard. Raises MeasurementError if
        all clients are lost.
        """
        load = ShardedLoad(self._alive, dispatch, clock, on_progress)
        served = load.serve(payload)
        self.lost, self.caveats = load.lost, load.caveats
        dispatch.conclude(served.summary)
        return served

    @property
    def _alive(self) -> list[Member]:
        return [member for member in self.members if member.lost is None]


@dataclass(eq=False, slots=True)
class _Part:
    """A client's part of a load, and what it has reported of it."""

    member: Member
    shard: Shard
    log: AnswerLog = field(default_factory=AnswerLog)
    progress: Progress = NOTHING_YET
    served: Served | None = None
    lost_at: float | None = None


@dataclass(eq=False, slots=True)
class ShardedLoad:
    """A load whose shards are sent by clients; without a ``clock``, it is a calibration."""

    members: Sequence[Member]
    dispatch: Dispatch
    clock: MonotonicClock | None
    on_progress: Callable[[], None]
    lost: list[Record] = field(default_factory=list)
    caveats: list[Caveat] = field(default_factory=list)
    _parts: list[_Part] = field(init=False)
    _ended_at: float = inf

    def __post_init__(self) -> None:
        """Divide the load; clients without a request stay idle."""
        count = min(len(self.members), max(1, len(self.dispatch.due_times)))
        self._parts = [
            _Part(member, self.dispatch.shard(index, count))
            for index, member in enumerate(self.members[:count])
        ]

    def serve(self, payload: Payload) -> Served:
        """Serve the load; raises MeasurementError if all clients are lost."""
        for part in self._parts:
            clock = self.clock and part.member.client.clock.remote(self.clock)
            part.member.client.channel.send(Work.of(part.shard, payload, clock))
        while waiting := [p for p in self._parts if not p.served and p.member.lost is None]:
            self._receive(waiting)
        if self.clock:
            self._use_one_clock(self.clock)
        logs, served = [p.log for p in self._parts], [p.served for p in self._parts if p.served]
        result = merged(served, LoggedAnswers(logs, self.dispatch.requests))
        for part in self._parts:
            if part.lost_at is not None:
                self._account(part, part.lost_at, result.summary)
        return result

    def _receive(self, waiting: Sequence[_Part]) -> None:
        by_channel = {part.member.client.channel: part for part in waiting}
        for channel in child_process.ready(list(by_channel)):
            part = by_channel[channel]
            try:
                report = channel.receive(Report)
                if report.has_answers:
                    part.log.extend(channel.receive_bytes())
            except EOFError:
                self._lose(part)
            else:
                self._add(part, report)

    def _add(self, part: _Part, report: Report) -> None:
        part.served = report.served
        if report.progress:
            self._advance(part, report.progress)

    def _advance(self, part: _Part, progress: Progress) -> None:
        self.dispatch.add_progress(part.progress, progress)
        part.progress = progress
        self.on_progress()

    def _lose(self, part: _Part) -> None:
        member = part.member
        member.lost = member.client.how_ended()
        if self.clock is None:
            raise _lost_early(member)
        part.lost_at = self.clock.now()
        if all(part.member.lost for part in self._parts):
            raise MeasurementError(
                f"endpoint: no client is left: the last one, {member.name}, {member.lost}; perhaps "
                "memory ran out: free some, or lower `clients`"
            )

    def _use_one_clock(self, clock: MonotonicClock) -> None:
        """Compare the clocks again, and bring all times to that of the load."""
        self._ended_at = clock.now()
        for part in self._parts:
            member = part.member
            if member.lost is None:
                try:
                    member.client.clock.end()
                except EOFError:  # all of its answers are here: only its drift is unknown
                    member.lost = member.client.how_ended()
            scheduled = np.sort(np.asarray(part.shard.arrivals.at_start(), dtype=np.float64))
            correction = Correction(member.client.clock, clock, scheduled)
            part.log.correct = correction.answer
            if part.served:
                correction.summary(part.served.summary)

    def _account(self, part: _Part, lost_at: float, summary: LoadSummary) -> None:
        """Add the requests of a lost client that have no answer."""
        ended_early = any(reason in summary.stopped_by for reason in BEFORE_ALL)
        until = self._ended_at if ended_early else inf
        answers = LoggedAnswers([part.log], self.dispatch.requests)
        lost = LostRequests.of(part.shard, answers, until)
        member, count = part.member, len(lost.requests)
        self.lost += lost.records(f"{member.name} {member.lost}; no answer of it is known")
        summary.unsent_turns += lost.unsent_turns
        done = replace(
            part.progress,
            completed=part.progress.completed + count,
            failed=part.progress.failed + count,
        )
        self._advance(part, done)
        self.caveats.append(
            Caveat(
                "client-lost",
                client=member.name, seconds=lost_at, reason=member.lost, requests=count,
            )
        )  # fmt: skip


@contextmanager
def start_clients(options: EndpointOptions, target: Target) -> Iterator[ClientPool]:
    """Start clients, wait until they are ready, and end them with the context.

    Raises MeasurementError if one does not start, InputError if one cannot connect to a server.
    """
    with host_of(options).started(MODULE) as clients:
        on_nodes = Counter(client.node for client in clients)
        for client in clients:
            client.channel.send(Job.of(options, target, on_nodes[client.node]))
        members = [_member(index, client) for index, client in enumerate(clients)]
        for member in members:
            member.check_reach(target)
        yield ClientPool(members)


def _member(index: int, client: Client) -> Member:
    """Return a client that is ready."""
    name = _name(index, client)
    if not client.channel.poll(START_SECONDS):
        raise MeasurementError(
            f"endpoint: {name} did not start within {START_SECONDS:.0f} s; lower `clients`"
        )
    try:
        return Member(index, client, client.channel.receive(Ready))
    except EOFError:
        raise MeasurementError(
            f"endpoint: {name} {client.how_ended()} before it was ready, perhaps out of memory; "
            "free some memory, or lower `clients`"
        ) from None


def _lost_early(member: Member) -> MeasurementError:
    return MeasurementError(f"endpoint: {member.name} {member.lost} before the load")
