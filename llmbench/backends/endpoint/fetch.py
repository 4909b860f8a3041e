"""Single requests outside the load, such as for the list of models, with limits on the reply."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import SplitResult, urlsplit

import uvloop

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.addresses import Address, connect
from llmbench.backends.endpoint.body import compression_of, words
from llmbench.backends.endpoint.connection import Connection
from llmbench.backends.endpoint.loop_lag import LoopLag
from llmbench.loads.clock import MonotonicClock


@dataclass(slots=True, eq=False)
class Reply:
    """A reply with any status; ``fault`` is the reason why it is missing or incomplete."""

    payload: bytes = b""
    status: int | None = None
    fault: str | None = None
    max_bytes: int = limits.REPLY_BYTES
    lag: float = 0.0
    retry_after: float | None = None
    content_type: str = ""
    _encoding: str = ""
    _kept: bytearray = field(default_factory=bytearray)

    @property
    def content(self) -> bytes:
        """The body of the reply."""
        return bytes(self._kept)

    @property
    def words(self) -> str:
        """The beginning of the body, for messages."""
        return limits.brief(words(self.content))

    def begin(self, status: int, content_type: str, encoding: str) -> None:
        """Store the status, the content type and the content encoding."""
        self.status, self.content_type, self._encoding = status, content_type, encoding

    def body(self, now: float, data: bytes) -> None:  # noqa: ARG002 (of all receivers)
        """Store a part of the body."""
        self._kept += data

    def end(self, now: float) -> None:  # noqa: ARG002 (of all receivers)
        """Check that the body is not compressed."""
        if compression := compression_of(self.content, self._encoding):
            self.fault = f"it is compressed ({compression}); compressed answers are not read"

    def cut(self, kind: str, message: str) -> None:
        """Store the reason for an early end."""
        self.fail(kind, message)

    def fail(self, kind: str, message: str) -> None:  # noqa: ARG002 (of all receivers)
        """Store the first reason for a failure."""
        self.fault = self.fault or limits.brief(message)


def fetch(
    url: str,
    address: Address,
    *,
    method: str = "GET",
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None,
    seconds: float,
    max_bytes: int = limits.REPLY_BYTES,
) -> Reply:
    """Return the reply to one request, which is sent like those of a load.

    No proxy is used, and redirects are not followed. ``seconds`` limits the whole transfer.
    """
    parts = urlsplit(url)
    reply = Reply(_request(method, parts, headers), max_bytes=max_bytes)
    server_name = parts.hostname if tls else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_transfer(reply, address, tls, server_name, seconds))
    return reply


async def _transfer(
    reply: Reply,
    address: Address,
    tls: ssl.SSLContext | None,
    server_name: str | None,
    seconds: float,
) -> None:
    ended = asyncio.Event()
    make = partial(Connection[Reply], MonotonicClock(), LoopLag(), lambda *_: ended.set())
    try:
        async with asyncio.timeout(seconds):
            connection = await connect(
                address, make, tls=tls, server_name=server_name, seconds=seconds
            )
            try:
                connection.send(reply)
                await ended.wait()
            finally:
                connection.close()
    except TimeoutError as error:
        reply.fail("timeout", str(error) or f"it is not complete within {seconds:g} s")
    except OSError as error:
        reply.fail("connect", str(error))


def _request(method: str, url: SplitResult, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": url.netloc, "Accept-Encoding": "identity", "Connection": "close", **headers}
    if method == "POST":
        fields["Content-Length"] = "0"
    path = url.path + (f"?{url.query}" if url.query else "")
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
