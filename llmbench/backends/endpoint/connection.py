"""One HTTP/1.1 connection, parsed with llhttp and timestamped at the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar, cast

import httptools

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.loop_lag import LoopLag
from llmbench.loads.clock import Clock

SWITCHING_PROTOCOLS = 101
LONG_HEADERS = (
    f"the headers of the response have more than {limits.HEADER_BYTES:,} bytes, or are more than "
    f"{limits.HEADERS}"
)
KEPT_HEADERS = frozenset(
    (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"retry-after")
)


class Receiver(Protocol):
    """A request, as ``payload``, and what receives its response.

    The response has at most ``max_bytes`` and is read at most ``lag`` seconds late.
    """

    payload: bytes
    max_bytes: int
    lag: float
    status: int | None
    retry_after: float | None

    @property
    def fault(self) -> object:
        """The error of the response, or None."""

    def begin(self, status: int, content_type: str, encoding: str) -> None:
        """Process the status, the content type and the content encoding of the response."""

    def body(self, now: float, data: bytes) -> None:
        """Process a part of the response body, which was read at ``now``."""

    def end(self, now: float) -> None:
        """Process the normal end of the response."""

    def cut(self, kind: str, message: str) -> None:
        """Process an early end of the response."""

    def fail(self, kind: str, message: str) -> None:
        """Process an error, unless the response is over."""


R = TypeVar("R", bound=Receiver)


class Connection(asyncio.Protocol, Generic[R]):
    """Transfers one request and its response (an exchange) at a time.

    ``on_end`` is called when an exchange is over; a ``reusable`` connection can transfer the next.
    """

    def __init__(
        self, clock: Clock, lag: LoopLag, on_end: Callable[[Connection[R], R], None]
    ) -> None:
        self._time = clock.now
        self._lag = lag
        self._on_end = on_end
        self._parts: list[bytes] = []
        self.on_body = self._parts.append  # for llhttp: a read may have many parts of the body
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: R | None = None
        self._body: Callable[[float, bytes], None] = _ignore
        self._now = 0.0
        self._headers: dict[bytes, bytes] = {}
        self._received, self._next_check = 0, limits.HEADER_BYTES
        self._header_bytes = self._header_count = 0
        self._has_body = False
        self._ends_at_eof = False
        self._is_complete = False
        self._stays_open = False
        self.idle_since = 0.0
        self.uses = 0
        self.reusable = False

    # -- called by asyncio -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport of the new connection."""
        self._transport = cast("asyncio.Transport", transport)
        self.reusable = True

    def data_received(self, data: bytes) -> None:
        """Timestamp the bytes, then parse them."""
        before, self._now = self._now, self._time()
        lag = self._lag.begin_read(before, self._now)
        exchange = self._exchange
        if exchange is None:
            self.close()  # bytes outside any response
            return
        exchange.lag = lag
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._give_up(exchange, "client-error", _client_error(_cause(error)))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._pass_body(exchange)
            message = f"the response is not valid HTTP/1.1: {error}"
            self._give_up(exchange, "invalid-response", message)
        self._pass_body(exchange)
        if self._received > self._next_check:
            self._check_size(exchange)
        if self._is_complete or exchange.fault:
            self._finish(exchange)
        self._lag.end(self._time())

    def connection_lost(self, exc: Exception | None) -> None:
        """End or fail the exchange; a response without a length ends with its connection."""
        self.reusable = False
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if exc is None and self._ends_at_eof:
            exchange.end(self._time())
        elif exc is None and exchange.status is not None:
            exchange.cut("truncated", "the server closed the connection before the response ended")
        else:
            exchange.cut("reset", str(exc or "the server closed the connection without a response"))
        self._on_end(self, exchange)

    @property
    def source(self) -> str | None:
        """The local IP address of the connection."""
        name = self._transport.get_extra_info("sockname") if self._transport else None
        return name[0] if name else None

    # -- called by the client ----------------------------------------------------------------------

    def send(self, exchange: R) -> None:
        """Send the request of an exchange."""
        assert self._transport is not None  # noqa: S101 (the client receives it connected)
        self._exchange = exchange
        self._body = _ignore
        self._received, self._next_check = 0, limits.HEADER_BYTES
        self._header_bytes = self._header_count = 0
        self._has_body = self._ends_at_eof = self._is_complete = self._stays_open = False
        self.reusable = False
        self.uses += 1
        self._now = self._time()
        self._transport.write(exchange.payload)

    def close(self) -> None:
        """Abort the connection and forget the exchange on it."""
        self.reusable = False
        self._exchange = None
        if self._transport:
            self._transport.abort()

    # -- called by llhttp --------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a response, an interim one, or one that nobody requested."""
        self._headers = {}
        if self._is_complete:
            self._stays_open = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a response header that is used, and count all."""
        self._header_bytes += len(name) + len(value)
        self._header_count += 1
        if self._header_bytes > limits.HEADER_BYTES or self._header_count > limits.HEADERS:
            if self._exchange:
                self._give_up(self._exchange, "too-large", LONG_HEADERS)
        elif (known := name.lower()) in KEPT_HEADERS:
            self._headers[known] = value

    def on_headers_complete(self) -> None:
        """Pass the status and what describes the body to the exchange."""
        exchange, status, headers = self._exchange, self._parser.get_status_code(), self._headers
        if exchange is None or self._is_complete:
            return
        if status == SWITCHING_PROTOCOLS:
            exchange.status = status
            exchange.fail("http-101", "the server switched to another protocol")
        if _is_interim(status):
            return
        transfer_encoding = headers.get(b"transfer-encoding", b"").lower()
        is_chunked = transfer_encoding.endswith(b"chunked")
        self._ends_at_eof = not is_chunked and b"content-length" not in headers
        if retry_after := headers.get(b"retry-after"):
            with suppress(ValueError):  # an HTTP date, the alternative, is not used by APIs
                exchange.retry_after = float(retry_after)
        kind = headers.get(b"content-type", b"").decode("latin-1")
        codings = headers.get(b"content-encoding", b"").lower() + b"," + transfer_encoding
        encoding = ", ".join(map(str.strip, codings.decode("latin-1").split(",")))
        exchange.begin(status, kind.strip().lower(), encoding)
        self._body = exchange.body

    def on_message_complete(self) -> None:
        """End the exchange; the connection is reusable if the server keeps it open."""
        exchange = self._exchange
        if exchange is None or self._is_complete or _is_interim(self._parser.get_status_code()):
            return
        self._pass_body(exchange)
        exchange.end(self._now)
        self._body = _ignore
        self._is_complete = True
        self._stays_open = self._parser.should_keep_alive()

    def _pass_body(self, exchange: R) -> None:
        """Pass what was read of the body to the exchange, with the time it was read."""
        parts = self._parts
        if not parts:
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._has_body = True
        try:
            self._body(self._now, data)
        except Exception as error:  # noqa: BLE001 (it fails only this request)
            self._give_up(exchange, "client-error", _client_error(error))

    # -- the end of an exchange --------------------------------------------------------------------

    def _check_size(self, exchange: R) -> None:
        """Give up a large response, or one with only headers since the last check."""
        if self._received > exchange.max_bytes:
            message = f"the response has more than {exchange.max_bytes:,} bytes"
            self._give_up(exchange, "too-large", message)
        elif not self._has_body:
            self._give_up(exchange, "too-large", LONG_HEADERS)
        self._has_body = False
        self._next_check = self._received + limits.HEADER_BYTES

    def _give_up(self, exchange: R, kind: str, message: str) -> None:
        """Read no more of a response."""
        exchange.cut(kind, message)
        self._is_complete = True
        self._stays_open = False

    def _finish(self, exchange: R) -> None:
        """Report an exchange that is over; close a connection that cannot transfer another."""
        self._exchange = None
        if self._is_complete and self._stays_open:
            self.reusable = True
            self.idle_since = self._now
        else:
            self.close()
        self._on_end(self, exchange)


def _cause(error: httptools.HttpParserCallbackError) -> Exception:
    """Return the exception of a callback; raise it if it is an interrupt."""
    cause = error.__context__
    if not isinstance(cause, Exception):
        raise cause or error
    return cause


def _client_error(error: Exception) -> str:
    return f"llmbench could not process the response: {type(error).__name__}: {error}"


def _ignore(now: float, data: bytes) -> None:
    """Ignore the body of an interim response, or of one that nobody requested."""


def _is_interim(status: int) -> bool:
    return 100 <= status < 200  # noqa: PLR2004 (RFC 9110, 15.2)
