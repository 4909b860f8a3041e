"""Byte-level building blocks of the adversarial server's responses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

WORDS = ("Speed", " without", " truth", " is", " only", " noise", " —", " 速度")
TOKENS = len(WORDS)
STREAM = "text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for ``seconds``."""

    seconds: float


class End(Enum):
    """How a connection ends: closed normally, or reset."""

    CLOSE = auto()
    RESET = auto()


Action = bytes | Pause | End


@dataclass(frozen=True, slots=True)
class Behavior:
    """A server behavior: what the server sends, and what the client is expected to record.

    The record has the error kind ``error`` (None for success) and the given numbers of text chunks
    and tokens. ``tokens`` is None if the server reports no token count, or an impossible one.
    """

    name: str
    description: str
    script: Iterable[Action]
    error: str | None = None
    chunks: int = TOKENS
    tokens: int | None = TOKENS


def head(status: str, content_type: str, *fields: str) -> bytes:
    """Return the status line and headers of a response; ``fields`` are additional headers."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunked(
    parts: Iterable[Action], *fields: str, ended: bool = True, content_type: str = STREAM
) -> list[Action]:
    """Return a response with one HTTP chunk per part; pauses and ends are kept in order."""
    chunks = [b"%x\r\n%b\r\n" % (len(p), p) if isinstance(p, bytes) else p for p in parts]
    last_chunk = [b"0\r\n\r\n"] if ended else []
    return [head("200 OK", content_type, CHUNKED, *fields), *chunks, *last_chunk]


def plain(status: str, content_type: str, body: bytes, *fields: str) -> bytes:
    """Return a complete response whose Content-Length is that of ``body``."""
    return head(status, content_type, f"Content-Length: {len(body)}", *fields) + body


def event(data: Any) -> bytes:
    """Return a server-sent event with ``data``: bytes as they are, other values as JSON."""
    text = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    return b"data: " + text + b"\n\n"


def delta(text: str, key: str = "content", **more: Any) -> dict[str, Any]:
    """Return a chunk of a chat stream whose delta has ``text`` under ``key``."""
    choice = {"index": 0, "delta": {key: text}, "finish_reason": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **more}


def last(reason: str = "length") -> dict[str, Any]:
    """Return the last chunk of a chat stream, which has only the finish reason."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def usage(tokens: int = TOKENS) -> dict[str, Any]:
    """Return the chunk of a stream that has only the token counts."""
    counts = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
    return {"choices": [], "usage": counts}


def done() -> bytes:
    """Return the [DONE] event, which ends a stream."""
    return event(b"[DONE]")


def completion() -> bytes:
    """Return the JSON body of a non-streamed response."""
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return json.dumps({**usage(), "choices": [choice]}).encode()
