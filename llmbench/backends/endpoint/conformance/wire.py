"""Byte-level building blocks of the adversarial server's responses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

WORDS = ("Speed", " without", " truth", " is", " only", " noise", " —", " 速度")
TOKENS = len(WORDS)


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for ``seconds``."""

    seconds: float


class End(Enum):
    """How a connection ends: closed normally, or reset."""

    CLOSE = auto()
    RESET = auto()


Action = bytes | Pause | End


def head(status: str = "200 OK", kind: str = "text/event-stream", *fields: str) -> bytes:
    """Return the head of a response: status line and headers; ``fields`` are additional headers."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunked(parts: Iterable[Action], *, ended: bool = True) -> Iterator[Action]:
    """Yield a chunked response with one HTTP chunk per part; pauses and ends are passed through."""
    yield head("200 OK", "text/event-stream", "Transfer-Encoding: chunked")
    for part in parts:
        yield b"%x\r\n%b\r\n" % (len(part), part) if isinstance(part, bytes) else part
    if ended:
        yield b"0\r\n\r\n"


def plain(status: str, kind: str, body: bytes, *fields: str) -> bytes:
    """Return a complete response with a body of known length."""
    return head(status, kind, f"Content-Length: {len(body)}", *fields) + body


def event(data: Any, end: bytes = b"\n") -> bytes:
    """Return bytes, or a value as JSON, as one server-sent event; ``end`` is its newline."""
    text = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    return b"data: " + text + end + end


def delta(text: str, key: str = "content", **more: Any) -> dict[str, Any]:
    """Return a chunk of a chat stream, whose delta has ``text`` under ``key``."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {key: text}, "finish_reason": None}],
        **more,
    }


def last(reason: str = "length") -> dict[str, Any]:
    """Return the last chunk of a choice, which has only the finish reason."""
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def usage(tokens: int = TOKENS) -> dict[str, Any]:
    """Return the chunk of a stream that has only the token counts."""
    return {
        "choices": [],
        "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens},
    }


def done(end: bytes = b"\n") -> bytes:
    """Return the [DONE] event, which ends a stream."""
    return event(b"[DONE]", end)


def completion() -> bytes:
    """Return the JSON body of a non-streamed response."""
    message = {"role": "assistant", "content": "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return json.dumps({**usage(), "choices": [choice]}).encode()
