"""Which of several servers a request is sent to, and what happens when one refuses connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from llmbench.backends.balancing import Choice
from llmbench.backends.endpoint.addresses import Address
from llmbench.runs.request import Request
from llmbench.scenario.replicas import Policy


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that requests are sent to: the URL of its API, and its address."""

    url: str
    address: Address

    @property
    def parts(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)

    @property
    def root(self) -> str:
        """The URL without OpenAI's /v1."""
        return self.url.removesuffix("/v1")

    def tls(self, context: SSLContext | None) -> SSLContext | None:
        """Return the TLS context of connections: the given one for https, else None."""
        return context if self.parts.scheme == "https" else None


@dataclass(frozen=True, slots=True)
class Balance:
    """How requests are shared among the first ``servers`` of a target's servers.

    ``pinned`` has the index of the server that a request class has for itself. A server that
    refuses a connection is tried again after ``back_off`` seconds. ``seed`` is that of random
    choices.
    """

    policy: Policy = "round-robin"
    back_off: float = 1.0
    servers: int = 1
    pinned: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0

    def may_get(self, server: int, request_class: str | None) -> bool:
        """Return whether a server may get requests of a class."""
        own = self.pinned.get(request_class or "")
        return server < self.servers if own is None else server == own


class Balancer(Protocol):
    """Chooses the server of each request that one client process sends, by its index."""

    refusals: Counter[int]

    def peek(self, request: Request) -> int:
        """Return the server that a request would be sent to now."""

    def take(self, request: Request) -> int:
        """Return the server that a request is sent to now, and count it as in flight."""

    def is_out(self, server: int) -> bool:
        """Return whether a server has refused a connection, and accepted none since."""

    def connected(self, server: int) -> None:
        """Record that a server has accepted a connection."""

    def refused(self, server: int) -> None:
        """Record that a server has not accepted a connection."""

    def finished(self, server: int) -> None:
        """Record that a request is not in flight any more."""


class OnlyOne(Balancer):
    """Chooses the only server."""

    def __init__(self) -> None:
        self.refusals = Counter()

    def peek(self, request: Request) -> int:  # noqa: ARG002 (there is no choice)
        """Return the only server."""
        return 0

    take = peek

    def is_out(self, server: int) -> bool:  # noqa: ARG002 (there is no other)
        """Return False: it is used in any case."""
        return False

    def connected(self, server: int) -> None:
        """Do nothing."""

    refused = finished = connected


class Several(Balancer):
    """Chooses among several servers by a policy.

    Loads are this client's requests in flight. A server that refuses a connection gets no request
    until ``back_off`` seconds later, then one, and all of its requests once it accepts a
    connection. If all are out, all are used. ``refusals`` counts the connections that each server
    refused.
    """

    def __init__(self, balance: Balance, count: int, now: Callable[[], float]) -> None:
        self._balance = balance
        self._own: Sequence[int] = range(balance.servers)
        self._in_flight = [0] * count
        self._tried_again: dict[int, float] = {}
        self._now = now
        self.refusals = Counter()

    def peek(self, request: Request) -> int:
        """Return the server that a request would be sent to now."""
        balance = self._balance
        pinned = balance.pinned.get(request.request_class or "")
        if pinned is not None:
            return pinned
        available = self._available() if self._tried_again else self._own
        loads = self._in_flight[: balance.servers]
        return Choice(request, loads, available, balance.seed).by(balance.policy)

    def take(self, request: Request) -> int:
        """Return the server that a request is sent to now, and count it as in flight."""
        server = self.peek(request)
        self._in_flight[server] += 1
        if server in self._tried_again:
            self._tried_again[server] = self._now() + self._balance.back_off
        return server

    def is_out(self, server: int) -> bool:
        """Return whether a server has refused a connection, and accepted none since."""
        return server in self._tried_again

    def connected(self, server: int) -> None:
        """Use a server as before."""
        self._tried_again.pop(server, None)

    def refused(self, server: int) -> None:
        """Leave a server out for a while, if there are others."""
        if server < self._balance.servers > 1:
            self._tried_again[server] = self._now() + self._balance.back_off
            self.refusals[server] += 1

    def finished(self, server: int) -> None:
        """Record that a request is not in flight any more."""
        self._in_flight[server] -= 1

    def _available(self) -> Sequence[int]:
        now, never = self._now(), float("-inf")
        available = [s for s in self._own if self._tried_again.get(s, never) <= now]
        return available or self._own


def balancer(balance: Balance, count: int, now: Callable[[], float]) -> Balancer:
    """Return what chooses among ``count`` servers, by a clock in seconds."""
    return Several(balance, count, now) if count > 1 else OnlyOne()
