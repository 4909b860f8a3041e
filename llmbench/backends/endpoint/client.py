"""The load client of one event loop: sends each request when it is due and reads the responses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from ssl import SSLContext

import numpy as np

from llmbench.backends.endpoint import addresses, limits
from llmbench.backends.endpoint.addresses import OTHER_SOURCES, NoLocalResourceError
from llmbench.backends.endpoint.answer_log import AnswerLog
from llmbench.backends.endpoint.balancing import Balance, Balancer, Upstream, balancer
from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.in_flight import InFlight, LoadConnection
from llmbench.backends.endpoint.loop_lag import HEARTBEAT_SECONDS, LoopLag
from llmbench.backends.endpoint.timer import Timer
from llmbench.loads.clock import Clock
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.request import Request

CHECK_SECONDS = 0.05
BEATS = 100  # per second
PERCENT, LATE_SECONDS = 99, 3
FIRST_BACKOFF_SECONDS = 0.1
MAX_DOUBLINGS = 30  # of the backoff; more would overflow


@dataclass(frozen=True, slots=True)
class Target:
    """The servers of a load and the settings of their connections; times are in seconds.

    ``balance`` is how requests are shared among the servers. A connection is reused if it was idle
    for less than ``max_idle``; 0 means never. The client does not wait in the last ``spin_seconds``
    before a request is due.
    """

    upstreams: tuple[Upstream, ...]
    balance: Balance
    tls: SSLContext | None
    streamed: bool
    needs_done: bool
    max_idle: float
    retries: int
    connect_timeout: float
    first_token_timeout: float
    total_timeout: float
    limits_length: bool = True
    spin_seconds: float = 0.0

    def only(self, server: int) -> Target:
        """Return the same settings with one of the servers, which gets all requests."""
        return replace(self, upstreams=(self.upstreams[server],), balance=Balance())


Payloads = Callable[[Request, int], bytes]
Connect = Callable[[Target, Upstream, Callable[[], LoadConnection]], Awaitable[LoadConnection]]


async def connect(
    target: Target, upstream: Upstream, make: Callable[[], LoadConnection]
) -> LoadConnection:
    """Open a connection to one of the target's servers; raises OSError on failure."""
    tls = upstream.tls(target.tls)
    return await addresses.connect(
        upstream.address,
        make,
        tls=tls,
        server_name=upstream.parts.hostname if tls else None,
        seconds=target.connect_timeout,
    )


@dataclass(eq=False)
class Client:
    """Sends the requests of a load from one event loop.

    ``payload`` returns the bytes of a request to one of the servers, including the HTTP head.
    ``answers`` gets each request with its response as soon as it has completed or failed.
    ``counts`` has the numbers of opened connections, of those from other loopback addresses than
    127.0.0.1, of retries and of stale connections (idle ones that the server had closed, whose
    requests were sent again). ``lag`` bounds how late the event loop stamps what it reads.
    """

    target: Target
    payload: Payloads
    clock: Clock
    on_progress: Callable[[], None]
    connect: Connect
    answers: AnswerLog = field(default_factory=AnswerLog)
    counts: Counter[str] = field(default_factory=Counter)
    lag: LoopLag = field(default_factory=LoopLag)
    balancer: Balancer = field(init=False)
    _idle: list[list[LoadConnection]] = field(init=False)  # by server
    _in_flight: InFlight = field(init=False)
    _connecting: dict[Exchange, asyncio.Task[None]] = field(default_factory=dict)
    _awaited: float | None = None
    _prepared: tuple[int | None, int, bytes] = (None, 0, b"")
    _late_for: int = 0
    _excess_bytes: int = 0

    async def serve(self, dispatch: Dispatch) -> None:
        """Send every request when it is due; return when all have completed or failed."""
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        target = self.target
        servers = len(target.upstreams)
        self.balancer = balancer(target.balance, servers, self.clock.now)
        self._idle = [[] for _ in range(servers)]
        self._in_flight = InFlight(target.first_token_timeout, target.total_timeout)
        dispatch.on_more = partial(self._loop.call_soon_threadsafe, self._send_due)
        self._timer = Timer(self._loop, self._on_due, target.spin_seconds, self._prepare)
        self._heartbeat = Timer(self._loop, self._beat)
        self.lag.next_beat = self.clock.now()
        self._check_in_flight()
        self._beat()
        self._send_due()
        try:
            await self._finished
        finally:
            self._close()

    @property
    def spun_seconds(self) -> float:
        """The CPU time spent on being punctual instead of waiting."""
        return self._timer.spun_seconds

    # -- sending -----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Encode the next request before it is due."""
        if request := self._dispatch.upcoming():
            server = self.balancer.peek(request)
            self._prepared = request.id, server, self.payload(request, server)

    def _on_due(self) -> None:
        self._awaited = None
        self.lag.begin(self.clock.now())
        self._send_due()
        self.lag.end(self.clock.now())

    def _send_due(self) -> None:
        for request, due in self._dispatch.take_due(self.clock.now()):
            exchange = self._exchange(request, due)
            self._send(exchange)
            if request.patience:
                self._expect_abandonment(exchange)
        if (due_next := self._dispatch.next_due()) is not None:
            if due_next != self._awaited:
                self._awaited = due_next
                self._timer.set(due_next - self.clock.now())
        elif self._dispatch.finished and not self._finished.done():
            self._finished.set_result(None)

    def _send(self, exchange: Exchange) -> None:
        request, (prepared_id, prepared_for, payload) = exchange.request, self._prepared
        exchange.server = server = self.balancer.take(request)
        is_prepared = prepared_id == request.id and prepared_for == server
        exchange.payload = payload if is_prepared else self.payload(request, server)
        if not exchange.retries:
            exchange.begun = self.clock.now()
        if not self.balancer.is_out(server) and (idle := self._take_idle(server)):
            self._in_flight[exchange] = idle
            idle.send(exchange)
        else:
            self._send_over_new(exchange)

    def _send_over_new(self, exchange: Exchange) -> None:
        self._in_flight[exchange] = None
        task = self._loop.create_task(self._connect_and_send(exchange))
        self._connecting[exchange] = task
        task.add_done_callback(lambda _: self._connecting.pop(exchange, None))

    def _exchange(self, request: Request, due: float) -> Exchange:
        tokens = request.max_new_tokens
        may_exceed = self._excess_bytes < limits.EXCESS_BYTES
        return Exchange(
            request,
            due,
            max_bytes=limits.response_bytes(tokens),
            max_events=limits.events(tokens),
            max_text_length=limits.text_length(tokens, may_exceed=may_exceed),
            streamed=self.target.streamed,
            needs_done=self.target.needs_done,
            limits_length=self.target.limits_length,
            on_first_token=self._dispatch.first_token,
        )

    def _take_idle(self, server: int) -> LoadConnection | None:
        oldest, idle = self.clock.now() - self.target.max_idle, self._idle[server]
        while idle:
            connection = idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _connect_and_send(self, exchange: Exchange) -> None:
        """Open a connection and send the request; the connection time counts as latency."""
        target, began, server = self.target, self.clock.now(), exchange.server
        try:
            make = partial(LoadConnection, self.clock, self.lag, self._on_end)
            connection = await self.connect(target, target.upstreams[server], make)
        except TimeoutError as error:
            exchange.fail("timeout-connect", str(error))
            self.balancer.refused(server)
        except NoLocalResourceError as error:
            exchange.fail("connect", str(error))
        except OSError as error:
            exchange.fail("connect", str(error))
            self.balancer.refused(server)
        if exchange.fault:
            self._conclude(exchange)
            return
        self.balancer.connected(server)
        self.counts["connections"] += 1
        if connection.source in OTHER_SOURCES:
            self.counts["connections_from_other_addresses"] += 1
        exchange.connect_seconds = self.clock.now() - began
        self._in_flight[exchange] = connection
        connection.send(exchange)

    # -- responses ---------------------------------------------------------------------------------

    def _on_end(self, connection: LoadConnection, exchange: Exchange) -> None:
        if connection.reusable:
            self._idle[exchange.server].append(connection)
        if _was_stale(connection, exchange):
            # the server closed an idle connection just before it was used (RFC 9112, 9.3.1)
            self.counts["stale_connections"] += 1
            exchange.fault = None
            self._send_over_new(exchange)
            return
        self._conclude(exchange)

    def _conclude(self, exchange: Exchange) -> None:
        """Retry a failed request if allowed, else report it to the dispatch as finished."""
        del self._in_flight[exchange]
        self.balancer.finished(exchange.server)
        may_retry = _is_retryable(exchange) and exchange.retries < self.target.retries
        if may_retry and self._retry(exchange):
            return
        exchange.release()
        self._excess_bytes += exchange.excess_bytes
        now = exchange.done_at or self.clock.now()
        self._dispatch.finish(exchange.request.id, now, exchange.outcome)
        self._send_due()
        self.answers.add(exchange)
        self.on_progress()

    def _retry(self, exchange: Exchange) -> bool:
        """Send a failed request again later; return False if that is after its time limits."""
        target, delay = self.target, _retry_delay(exchange)
        limit = exchange.begun + min(target.first_token_timeout, target.total_timeout)
        given_up = exchange.request.gives_up_at(exchange.due)
        if self.clock.now() + delay >= (limit if given_up is None else min(limit, given_up)):
            exchange.give_up(delay)
            return False
        self.counts["retries"] += 1
        retry = self._exchange(exchange.request, exchange.due)
        retry.begun, retry.retries = exchange.begun, exchange.retries + 1
        self._loop.call_later(delay, self._send, retry)
        if retry.request.patience:
            self._expect_abandonment(retry)
        return True

    # -- abandonment -------------------------------------------------------------------------------

    def _expect_abandonment(self, exchange: Exchange) -> None:
        """Schedule the moment at which the request's user gives up, if that is a time."""
        moment = exchange.request.gives_up_at(exchange.due)
        if moment is not None:
            self._loop.call_later(moment - self.clock.now(), self._abandon, exchange)

    def _abandon(self, exchange: Exchange) -> None:
        """Close the connection of a request that is still in flight, as its user gives up."""
        if exchange not in self._in_flight or exchange.over:
            return
        exchange.abandon(self.clock.now())
        if connection := self._in_flight[exchange]:
            connection.close()
        else:
            self._connecting[exchange].cancel()
        self._conclude(exchange)

    # -- time --------------------------------------------------------------------------------------

    def _check_in_flight(self) -> None:
        """End the requests that have timed out or hold too much; schedule the next check."""
        for exchange in self._in_flight.failed(self.clock.now()):
            if connection := self._in_flight[exchange]:
                connection.close()
                self._conclude(exchange)
        self._next_check = self._loop.call_later(CHECK_SECONDS, self._check_in_flight)

    def _beat(self) -> None:
        self.lag.beat(self.clock.now())
        self._end_if_late()
        self._heartbeat.set(HEARTBEAT_SECONDS)

    def _end_if_late(self) -> None:
        """End the load if the p99 of the loop's lag exceeds its limit for LATE_SECONDS in a row."""
        bound = self._dispatch.stop.client_lag
        if bound is None or len(self.lag.beats) % BEATS:
            return
        is_late = np.percentile(self.lag.beats[-BEATS:], PERCENT) > bound
        self._late_for = self._late_for + 1 if is_late else 0
        if self._late_for == LATE_SECONDS:
            self._dispatch.end("client-lag")
            self._send_due()

    def _close(self) -> None:
        self._dispatch.on_more = None
        self._timer.close()
        self._heartbeat.close()
        self._next_check.cancel()
        for connection in chain.from_iterable(self._idle):
            connection.close()
        self.answers.close()


def _retry_delay(exchange: Exchange) -> float:
    """Return the time to wait before a retry, by the server's Retry-After or else doubling."""
    requested = exchange.retry_after
    if requested and requested > 0:  # neither negative nor NaN
        return requested
    return FIRST_BACKOFF_SECONDS * 2.0 ** min(exchange.retries, MAX_DOUBLINGS)


def _was_stale(connection: LoadConnection, exchange: Exchange) -> bool:
    """Return whether a reused connection ended without a response."""
    is_reset = exchange.fault is not None and exchange.fault.kind == "reset"
    return is_reset and exchange.status is None and connection.uses > 1


def _is_retryable(exchange: Exchange) -> bool:
    """Return whether a retry may succeed; it cannot if the server rejected the request.

    A request that its user abandoned is not retried.
    """
    if exchange.fault is None or exchange.stamps or exchange.abandoned_at is not None:
        return False
    status = exchange.status or 0
    return exchange.fault.kind in ("connect", "reset") or status == 429 or status >= 500  # noqa: PLR2004 (RFC 9110)
