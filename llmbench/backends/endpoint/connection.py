"""One HTTP/1.1 connection, read with llhttp and stamped at the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httptools

from llmbench.backends.endpoint.exchange import Exchange
from llmbench.loads.clock import Clock


class Connection(asyncio.Protocol):
    """Carries one exchange after the other.

    ``on_end`` is called whenever an exchange is over; the connection can be used again where it
    is ``reusable``.
    """

    def __init__(self, clock: Clock, on_end: Callable[[Connection, Exchange], None]) -> None:
        self._clock = clock
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

    # -- asyncio's side ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self.reusable = True

    def data_received(self, data: bytes) -> None:
        """Stamp what was read, then read it."""
        self._now = self._clock.now()
        exchange = self._exchange
        if exchange is None:
            self.close()  # bytes that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            exchange.fail("invalid-response", f"not HTTP/1.1: {error}")
        if exchange.fault and self._exchange is exchange:
            self.close()
            self._on_end(self, exchange)

    def connection_lost(self, exc: Exception | None) -> None:
        """Judge what the end of the connection means to the exchange on it."""
        self.reusable = False
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if exc is None and self._ends_at_eof:
            exchange.end(self._clock.now())
        elif exc is None and exchange.status is not None:
            exchange.fail("truncated", "the server closed the connection before the answer's end")
        else:
            exchange.fail("reset", str(exc or "the server closed the connection with no answer"))
        self._on_end(self, exchange)

    # -- the client's side -------------------------------------------------------------------------

    def send(self, exchange: Exchange) -> None:
        """Put a request on the wire."""
        assert self._transport is not None  # noqa: S101 (connected before it is handed out)
        self._exchange = exchange
        self._headers = {}
        self._ends_at_eof = False
        self.reusable = False
        self.uses += 1
        self._transport.write(exchange.payload)

    def close(self) -> None:
        """Hang up; an exchange still on it is over for the connection."""
        self.reusable = False
        self._exchange = None
        if self._transport:
            self._transport.abort()

    # -- llhttp's side -----------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Tell the exchange what kind of answer begins."""
        status, headers = self._parser.get_status_code(), self._headers
        if self._exchange is None or _is_interim(status):
            return
        self._ends_at_eof = not {b"content-length", b"transfer-encoding"} & headers.keys()
        with suppress(ValueError):  # it may be a date, which nobody sends to clients of an API
            self._exchange.retry_after = float(headers.get(b"retry-after", b""))
        kind = headers.get(b"content-type", b"").decode("latin-1")
        self._exchange.begin(status, kind.strip().lower())

    def on_body(self, data: bytes) -> None:
        """Pass a part of the body on, with the moment it was read."""
        if self._exchange is not None:
            self._exchange.body(self._now, data)

    def on_message_complete(self) -> None:
        """Hand the exchange back; the connection is free again where the server keeps it."""
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
