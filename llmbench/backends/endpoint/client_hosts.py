"""Where client processes run: on this machine, or on others, through a plugin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from llmbench import plugins
from llmbench.backends.endpoint.client_clocks import ClientClock, SameClock
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.environment import child_process
from llmbench.environment.child_process import Channel, Child


class Client(Protocol):
    """A client process and the channel to it; ``node`` is the name of its machine, or None."""

    @property
    def channel(self) -> Channel:
        """The channel, which ends when the client does."""

    @property
    def clock(self) -> ClientClock:
        """The clock that the client reads."""

    @property
    def node(self) -> str | None:
        """The name of the client's machine; None: this one."""

    def how_ended(self) -> str:
        """Return how a client ended whose channel has ended, such as "was killed by SIGKILL"."""


class ClientHost(plugins.Part):
    """Starts client processes, which end with a context."""

    def started(self, module: str) -> AbstractContextManager[Sequence[Client]]:
        """Start the processes ``python -m module``; raises InputError if it cannot."""
        raise NotImplementedError


CLIENT_HOSTS = plugins.Kind("client_host", ClientHost)


@dataclass(frozen=True, slots=True)
class LocalClient:
    """A client process on this machine."""

    channel: Child
    clock: SameClock = field(default_factory=SameClock)
    node: None = None

    def how_ended(self) -> str:
        """Return the process's exit code or signal."""
        return self.channel.how_ended()


class LocalClients(ClientHost):
    """Starts client processes on this machine; its options are their number."""

    @contextmanager
    def started(self, module: str) -> Iterator[Sequence[Client]]:
        """Start the processes."""
        with ExitStack() as stack:
            yield [
                LocalClient(stack.enter_context(child_process.started(module)))
                for _ in range(self.options)
            ]


def host_of(options: EndpointOptions) -> ClientHost:
    """Return what starts the clients of an endpoint.

    Raises MissingExtraError if a package for it is not installed.
    """
    if isinstance(options.clients, int):
        return LocalClients(options.clients)
    CLIENT_HOSTS.require("ray")
    return CLIENT_HOSTS.find("ray")(options.clients)
