"""An endpoint without a server: responses come immediately, from the same event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec

from llmbench.backends.endpoint.balancing import Upstream
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.in_flight import LoadConnection
from llmbench.backends.endpoint.openai_types import LENGTH_FIELD

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
UNSTREAMED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


async def connect(
    target: Target,  # noqa: ARG001 (there is no server)
    upstream: Upstream,  # noqa: ARG001 (the same)
    make: Callable[[], LoadConnection],
) -> LoadConnection:
    """Return a connection without a socket, for `Client` in place of `client.connect`."""
    connection = make()
    connection.connection_made(cast("asyncio.Transport", _LoopbackTransport(connection)))
    return connection


class _LoopbackTransport:
    """A transport that responds to each request written to it, with one read per output token."""

    def __init__(self, connection: LoadConnection) -> None:
        self._connection = connection
        self._soon = asyncio.get_running_loop().call_soon

    def write(self, payload: bytes) -> None:
        body = msgspec.json.decode(payload.partition(b"\r\n\r\n")[2])
        tokens = body[LENGTH_FIELD]
        if body.get("stream"):
            self._soon(self._stream, tokens)
        else:
            answer = _message("word " * tokens, "message", tokens)
            self._soon(self._connection.data_received, UNSTREAMED % len(answer) + answer)

    def _stream(self, tokens: int) -> None:
        self._connection.data_received(STREAM)
        self._token(tokens, tokens)

    def _token(self, left: int, tokens: int) -> None:
        if left:
            self._connection.data_received(TOKEN)
            self._soon(self._token, left - 1, tokens)
        else:
            ends = _chunk(b"data: " + _message("", "delta", tokens)) + _chunk(b"data: [DONE]")
            self._connection.data_received(ends + b"0\r\n\r\n")

    def get_extra_info(self, name: str) -> None:
        """Return None: there is no socket."""

    def abort(self) -> None:
        """Do nothing: there is no socket to close."""


def _message(text: str, key: str, tokens: int | None = None) -> bytes:
    chunk: dict[str, Any] = {"choices": [{"index": 0, key: {"content": text}}]}
    if tokens is not None:
        chunk["usage"] = {"completion_tokens": tokens}
    return msgspec.json.encode(chunk)


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\n\n\r\n" % (len(event) + 2, event)


TOKEN = _chunk(b"data: " + _message(" word", "delta"))
