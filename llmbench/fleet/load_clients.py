"""Load clients of endpoints on the nodes of a Ray cluster: ``clients: {ray: 4}``.

An actor on each node starts the same client process that runs on one machine, and relays its
messages as bytes.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from llmbench.backends.endpoint.client_hosts import Client, ClientHost
from llmbench.backends.endpoint.options import RayClients
from llmbench.environment import child_process
from llmbench.environment.child_process import READ_BYTES, Channel
from llmbench.errors import InputError, MeasurementError
from llmbench.fleet.clock_offsets import RemoteClock, RoundTrip
from llmbench.fleet.connect import Cluster, connected

READ_SECONDS = 1.0  # a read without a message returns after that
ANSWER_SECONDS = 30.0  # an actor that does not answer for longer is lost
PLACE_SECONDS = 60.0
END_SECONDS = 5.0
THREADS = 3  # of an actor


class ClientActor:
    """Runs a client process on its node."""

    def __init__(self, module: str) -> None:
        self._process = ExitStack()
        self._child = self._process.enter_context(child_process.started(module))

    def node_id(self) -> str:
        """Return Ray's id of the node."""
        import ray  # noqa: PLC0415 (an extra)

        node_id: str = ray.get_runtime_context().get_node_id()
        return node_id

    def clock(self) -> float:
        """Return the seconds of the node's monotonic clock."""
        return time.monotonic()

    def write(self, data: bytes) -> None:
        """Write bytes to the process; if it has ended, `read` tells."""
        with suppress(BrokenPipeError):
            self._child.write(data)

    def read(self) -> bytes | None:
        """Return bytes that the process wrote, or none after READ_SECONDS; None if it has ended."""
        if not self._child.poll(READ_SECONDS):
            return b""
        return os.read(self._child.fileno(), READ_BYTES) or None

    def how_ended(self) -> str:
        """Return how the process ended."""
        return self._child.how_ended()


class ActorChannel(Channel):
    """The channel to a client process behind an actor.

    A thread copies what the process writes to a socket of this process. The channel ends with the
    process, its actor or its node; then ``error`` is what Ray reports, if anything.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._own_end, self._actor_end = socket.socketpair()
        super().__init__(self._own_end.fileno(), self._own_end.fileno())
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes to the process; there is one message at a time on the way."""
        self._actor.write.remote(bytes(data))

    def _copy(self) -> None:
        with self._actor_end, suppress(BrokenPipeError):  # the other end was closed
            while data := self._next():
                self._actor_end.sendall(data)

    def _next(self) -> bytes | None:
        from ray.exceptions import RayError  # noqa: PLC0415 (an extra)

        data: bytes | None = b""
        try:
            while data == b"":
                data = _answer(self._actor.read.remote())
        except RayError as error:
            self.error, data = error, None
        return data

    def close(self) -> None:
        """Close the channel; its thread ends with the actor."""
        self._own_end.close()
        self._thread.join(END_SECONDS)


@dataclass(frozen=True, slots=True)
class RayClient:
    """A client process on a node, as the process of the run sees it."""

    node: str
    actor: Any
    channel: ActorChannel
    clock: RemoteClock

    def how_ended(self) -> str:
        """Return how the process ended, or that it was lost with its actor or node."""
        from ray.exceptions import GetTimeoutError, RayError  # noqa: PLC0415 (an extra)

        error = self.channel.error
        if error is None:
            try:
                return str(_answer(self.actor.how_ended.remote()))
            except RayError as raised:
                error = raised
        if isinstance(error, GetTimeoutError):
            return f"did not answer for {ANSWER_SECONDS:g} s"
        return "was lost with its actor or node"


class RayLoadClients(ClientHost):
    """Starts client processes on the nodes of a Ray cluster, one CPU each, spread over them."""

    Options = RayClients
    needs: ClassVar = {"ray": "ray"}
    options: RayClients

    @contextmanager
    def started(self, module: str) -> Iterator[Sequence[Client]]:
        """Start the processes.

        Raises InputError if the cluster cannot be reached or has too few CPUs, MeasurementError if
        these do not become free.
        """
        with _cluster(self.options.address) as cluster:
            _check_cpus(cluster, self.options.ray)
            names = {node.id: node.name for node in cluster.nodes()}
            with _places(self.options.ray) as places, ExitStack() as stack:
                actors = [stack.enter_context(_actor(module, place)) for place in places]
                yield [stack.enter_context(_client(actor, names)) for actor in actors]


@contextmanager
def _cluster(address: str) -> Iterator[Cluster]:
    """Connect to a cluster; raises InputError as `connected` does, in words of the scenario."""
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(connected(address))
        except InputError as error:
            reason = str(error).replace("--ray", "address")
            raise InputError(f"endpoint: clients: {reason}") from None
        yield cluster


def _check_cpus(cluster: Cluster, clients: int) -> None:
    cpus = sum(int(node.cpus) for node in cluster.nodes())
    if cpus < clients:
        raise InputError(
            f"endpoint: clients.ray: {clients} clients need a CPU each, and the nodes of the "
            f"cluster have {cpus}; lower it, or add nodes"
        )


@contextmanager
def _places(count: int) -> Iterator[list[dict[str, Any]]]:
    """Reserve a CPU for each client, spread over the nodes; yield the options of their actors."""
    from ray.util import placement_group, remove_placement_group  # noqa: PLC0415 (an extra)
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415

    group = placement_group([{"CPU": 1}] * count, strategy="SPREAD")
    try:
        if not group.wait(PLACE_SECONDS):
            raise MeasurementError(
                f"endpoint: clients.ray: no CPUs for {count} clients became free within "
                f"{PLACE_SECONDS:.0f} s; wait for other work on the cluster, or lower it"
            )
        yield [
            {"num_cpus": 1, "scheduling_strategy": PlacementGroupSchedulingStrategy(group, index)}
            for index in range(count)
        ]
    finally:
        remove_placement_group(group)


@contextmanager
def _actor(module: str, place: dict[str, Any]) -> Iterator[Any]:
    """Start an actor, which ends with the context; threads read, write and tell the time."""
    import ray  # noqa: PLC0415 (an extra)

    actor_class: Any = ray.remote(ClientActor)
    actor = actor_class.options(max_concurrency=THREADS, **place).remote(module)
    try:
        yield actor
    finally:
        ray.kill(actor)


@contextmanager
def _client(actor: Any, names: dict[str, str]) -> Iterator[RayClient]:
    import ray  # noqa: PLC0415 (an extra)
    from ray.exceptions import RayError  # noqa: PLC0415 (an extra)

    try:
        node_id = _answer(actor.node_id.remote(), PLACE_SECONDS)
    except RayError as error:
        raise MeasurementError(f"endpoint: a client did not start on its node: {error}") from None
    channel = ActorChannel(actor)
    clock = RemoteClock(lambda: _round_trip(actor))
    try:
        yield RayClient(names.get(node_id, node_id), actor, channel, clock)
    finally:
        ray.kill(actor)  # which ends the channel's thread
        channel.close()


def _round_trip(actor: Any) -> RoundTrip:
    """Read the clock of a node once; raises EOFError if the actor is lost."""
    from ray.exceptions import RayError  # noqa: PLC0415 (an extra)

    sent = time.monotonic()
    try:
        read = _answer(actor.clock.remote())
    except RayError as error:
        raise EOFError("the actor is lost") from error
    return RoundTrip(sent, read, time.monotonic())


def _answer(asked: Any, seconds: float = ANSWER_SECONDS) -> Any:
    """Return the result of a call of an actor; raises RayError if it is lost or does not answer."""
    import ray  # noqa: PLC0415 (an extra)

    return ray.get(asked, timeout=seconds)
