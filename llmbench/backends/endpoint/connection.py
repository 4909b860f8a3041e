"""One HTTP/1.1 connection, parsed with llhttp and timestamped at the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httptools

from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.loop_lag import LoopLag
from llmbench.loads.clock import Clock


class Connection(asyncio.Protocol):
    """Transfers one request and its response (an exchange) at a time.

    ``on_end`` is called when an exchange is over; a ``reusable`` connection can transfer the next.
    """

    def __init__(
        self, clock: Clock, lag: LoopLag, on_end: Callable[[Connection, Exchange], None]
    ) -> None:
        self._clock = clock
        self._lag = lag
        self._on_end = on_end
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._now = 0.0
        self._headers: dict[bytes, bytes] = {}
        self._ends_at_eof = False
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
        before, self._now = self._now, self._clock.now()
        self._lag.begin(self._now)
        exchange = self._exchange
        if exchange is None:
            self.close()  # bytes outside any response
            return
        exchange.lag = self._lag.since(before, self._now)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            exchange.fail("invalid-response", f"the response is not valid HTTP/1.1: {error}")
        if exchange.fault and self._exchange is exchange:
            self.close()
            self._on_end(self, exchange)
        self._lag.end(self._clock.now())

    def connection_lost(self, exc: Exception | None) -> None:
        """End or fail the exchange; a response without a length ends with its connection."""
        self.reusable = False
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if exc is None and self._ends_at_eof:
            exchange.end(self._clock.now())
        elif exc is None and exchange.status is not None:
            exchange.fail("truncated", "the server closed the connection before the response ended")
        else:
            exchange.fail(
                "reset", str(exc or "the server closed the connection without a response")
            )
        self._on_end(self, exchange)

    # -- called by the client ----------------------------------------------------------------------

    def send(self, exchange: Exchange) -> None:
        """Send the request of an exchange."""
        assert self._transport is not None  # noqa: S101 (the client receives it connected)
        self._exchange = exchange
        self._headers = {}
        self._ends_at_eof = False
        self.reusable = False
        self.uses += 1
        self._now = self._clock.now()
        self._transport.write(exchange.payload)

    def close(self) -> None:
        """Abort the connection and forget the exchange on it."""
        self.reusable = False
        self._exchange = None
        if self._transport:
            self._transport.abort()

    # -- called by llhttp --------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a response header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Pass the status and the content type to the exchange."""
        status, headers = self._parser.get_status_code(), self._headers
        if self._exchange is None or _is_interim(status):
            return
        self._ends_at_eof = not {b"content-length", b"transfer-encoding"} & headers.keys()
        with suppress(ValueError):  # an HTTP date, the alternative, is not used by APIs
            self._exchange.retry_after = float(headers.get(b"retry-after", b""))
        kind = headers.get(b"content-type", b"").decode("latin-1")
        self._exchange.begin(status, kind.strip().lower())

    def on_body(self, data: bytes) -> None:
        """Pass a part of the body to the exchange, with the time it was read."""
        if self._exchange is not None:
            self._exchange.body(self._now, data)

    def on_message_complete(self) -> None:
        """Finish the exchange; the connection is reusable if the server keeps it open."""
        exchange = self._exchange
        if exchange is None or _is_interim(self._parser.get_status_code()):
            return
        exchange.end(self._now)
        self._exchange = None
        if self._parser.should_keep_alive():
            self.reusable = True
            self.idle_since = self._now
        else:
            self.close()
        self._on_end(self, exchange)


def _is_interim(status: int) -> bool:
    return 100 <= status < 200  # noqa: PLR2004 (RFC 9110, 15.2)
