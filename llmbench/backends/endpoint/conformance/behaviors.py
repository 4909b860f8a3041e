"""Server behaviors, correct and faulty, each with its expected outcome."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable

from llmbench.backends.endpoint.conformance import odd_answers, wire
from llmbench.backends.endpoint.conformance.wire import (
    TOKENS,
    WORDS,
    Behavior,
    chunked,
    delta,
    done,
    event,
)

JSON = "application/json"
FOREVER = wire.Pause(3600.0)
SINGLE_BYTES = 300

TEXT = [event(delta(word)) for word in WORDS]
EVENTS = [*TEXT, event(wire.last()), event(wire.usage())]
COMPLETE = [*EVENTS, done()]
ENDING = [event(wire.usage()), done()]


def _sent_as_one(parts: Iterable[wire.Action]) -> bytes:
    return b"".join(part for part in parts if isinstance(part, bytes))


def _bytewise(response: bytes) -> list[bytes]:
    singles = [response[index : index + 1] for index in range(SINGLE_BYTES)]
    return [*singles, response[SINGLE_BYTES:]]


def _halves(part: bytes) -> list[bytes]:
    """Split a part within its first multi-byte character, if it has one."""
    index = next((i for i, byte in enumerate(part) if byte > 0x7F), None)  # noqa: PLR2004 (ASCII)
    return [part] if index is None else [part[: index + 1], part[index + 1 :]]


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "server_error"}}).encode()


CORRECT = (
    Behavior("plain", "one token per event, then token counts (usage) and [DONE]",
             chunked(COMPLETE)),
    Behavior("one-segment", "the whole response arrives in one TCP segment",
             [_sent_as_one(chunked(COMPLETE))]),
    Behavior("crlf", "lines end with CR LF",
             chunked(part.replace(b"\n", b"\r\n") for part in COMPLETE)),
    Behavior("cr", "lines end with CR alone",
             chunked(part.replace(b"\n", b"\r") for part in COMPLETE)),
    Behavior("byte-order-mark", "the stream begins with a byte order mark",
             chunked([b"\xef\xbb\xbf", *COMPLETE])),
    Behavior("comments", "comments keep the connection alive between events",
             chunked(b": ping\n\n" + part for part in COMPLETE)),
    Behavior("no-space", "no space follows `data:`",
             chunked(part.replace(b"data: ", b"data:") for part in COMPLETE)),
    Behavior("other-fields", "fields other than data: event, id, retry and an unknown one",
             chunked(b"event: message\nid: 7\nretry: 100\nflavor: sweet\n" + p for p in COMPLETE)),
    Behavior("several-lines", "the JSON of an event spans several data lines",
             chunked(part.replace(b', "', b',\ndata: "') for part in COMPLETE)),
    Behavior("byte-by-byte", "the first bytes arrive in TCP segments of one byte",
             _bytewise(_sent_as_one(chunked(COMPLETE)))),
    Behavior("split-character",
             "a multi-byte character is split across two TCP segments and two HTTP chunks",
             chunked(half for part in COMPLETE for half in _halves(part))),
    Behavior("large-event", "an event of more than 64 KB",
             chunked([event(delta("word " * 20_000)), event(wire.last()), *ENDING]), chunks=1),
    Behavior("role-only", "the first chunk has only a role and is not a token",
             chunked([event(delta("assistant", "role")), *COMPLETE])),
    Behavior("several-tokens", "each event has several tokens",
             chunked([*(event(delta("".join(half))) for half in (WORDS[:4], WORDS[4:])), *ENDING]),
             chunks=2),
    Behavior("empty-text", "every other token has empty text",
             chunked([*(event(delta(t)) for word in WORDS[::2] for t in ("", word)), *ENDING]),
             chunks=TOKENS // 2),
    Behavior("reasoning", "reasoning text precedes the content",
             chunked([*(event(delta(word, "reasoning_content")) for word in WORDS[:3]),
                      *TEXT[3:], *ENDING])),
    Behavior("growing-usage", "every event has usage, with increasing token counts",
             chunked([*(event(delta(word, usage=wire.usage(count)["usage"]))
                        for count, word in enumerate(WORDS, start=1)), done()])),
    Behavior("no-usage", "no usage: the client has to count the tokens",
             chunked([*EVENTS[:-1], done()]), tokens=None),
    Behavior("other-type", "events under another Content-Type",
             chunked(COMPLETE, content_type="text/plain")),
    Behavior("lines", "a JSON document per line (NDJSON) instead of events",
             chunked([part[6:-1] for part in EVENTS], content_type="application/x-ndjson")),
    Behavior("until-closed", "no chunked encoding: the body ends with the connection",
             [wire.head("200 OK", wire.STREAM, "Connection: close"), *COMPLETE, wire.End.CLOSE]),
    Behavior("known-length", "a stream with a Content-Length",
             [wire.plain("200 OK", f"{wire.STREAM}; charset=utf-8", b"".join(COMPLETE))]),
    Behavior("interim", "HTTP 100 Continue precedes the response",
             [b"HTTP/1.1 100 Continue\r\n\r\n", *chunked(COMPLETE)]),
    Behavior("after-done", "events after [DONE], to be ignored",
             chunked([*COMPLETE, event(delta(" more"))])),
    Behavior("never-ended", "[DONE] is sent, but the response never ends",
             chunked([*COMPLETE, FOREVER], ended=False)),
)  # fmt: skip

# the last three values are the expected error, chunks and tokens
FAULTY = (
    Behavior("internal-error", "HTTP 500",
             [wire.plain("500 Internal Server Error", JSON, _error("out of memory"))],
             "http-500", 0, None),
    Behavior("too-many", "HTTP 429 with Retry-After",
             [wire.plain("429 Too Many Requests", JSON, _error("slow"), "Retry-After: 0.2")],
             "http-429", 0, None),
    Behavior("redirect", "a redirect, which is not followed",
             [wire.plain("307 Temporary Redirect", "text/plain", b"", "Location: /elsewhere")],
             "http-307", 0, None),
    Behavior("error-as-success", "an error instead of a stream, with HTTP 200",
             [wire.plain("200 OK", JSON, _error("the engine is dead"))], "server-error", 0, None),
    Behavior("not-streamed", "a whole response instead of the requested stream",
             [wire.plain("200 OK", JSON, wire.completion())], "invalid-response", 0, None),
    Behavior("web-page", "a web page with HTTP 200",
             [wire.plain("200 OK", "text/html", b"<html><title>Sign in</title></html>")],
             "invalid-response", 0, None),
    Behavior("compressed", "a compressed stream, which was not requested",
             chunked([gzip.compress(b"".join(COMPLETE))], "Content-Encoding: gzip"),
             "invalid-response", 0, None),
    Behavior("other-protocol", "HTTP 101",
             [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"],
             "http-101", 0, None),
    Behavior("error-in-stream", "an error mid-stream",
             chunked([*EVENTS[:3], event(_error("out of memory")), done()]),
             "server-error", 3, None),
    Behavior("garbage", "broken JSON mid-stream",
             chunked([*EVENTS[:3], event(b'{"choices": [{"del'), *COMPLETE[3:]]),
             "invalid-chunk", 3, None),
    Behavior("other-shape", "JSON of the wrong structure mid-stream",
             chunked([*EVENTS[:3], event({"choices": "none"}), *COMPLETE[3:]]),
             "invalid-chunk", 3, None),
    Behavior("not-utf8", "bytes that are not UTF-8",
             chunked([*EVENTS[:3], event(delta("?")).replace(b"?", b"\xff\xfe"), *COMPLETE[3:]]),
             "invalid-chunk", 3, None),
    Behavior("no-done", "the stream ends without [DONE]", chunked(EVENTS), "truncated"),
    Behavior("unfinished-done", "[DONE] without the empty line that makes it an event",
             chunked([*EVENTS, b"data: [DONE]\n"]), "truncated"),
    Behavior("closed", "the connection is closed mid-stream",
             [*chunked(EVENTS[:3], ended=False), wire.End.CLOSE], "truncated", 3, None),
    Behavior("reset", "the connection is reset mid-stream",
             [*chunked(EVENTS[:3], ended=False), wire.Pause(0.05), wire.End.RESET],
             "reset", 3, None),
    Behavior("no-answer", "the connection is closed before any response",
             [wire.End.CLOSE], "reset", 0, None),
    Behavior("not-http", "not HTTP", [b"SSH-2.0-OpenSSH_9.2\r\n"], "invalid-response", 0, None),
    Behavior("silence", "no response", [FOREVER], "timeout-first-token", 0, None),
    Behavior("frozen", "the server stalls mid-stream",
             chunked([*EVENTS[:3], FOREVER], ended=False), "timeout-total", 3, None),
    Behavior("too-few", "the response has fewer tokens than requested",
             chunked([*EVENTS[:5], event(wire.last("stop")), event(wire.usage(5)), done()]),
             "too-few-tokens", 5, 5),
    Behavior("empty", "a stream without tokens",
             chunked([event(wire.last("stop")), event(wire.usage(0)), done()]),
             "too-few-tokens", 0, 0),
)  # fmt: skip

ODD = (*odd_answers.CORRECT, *odd_answers.FAULTY)
BEHAVIORS = {behavior.name: behavior for behavior in (*CORRECT, *FAULTY, *ODD)}
