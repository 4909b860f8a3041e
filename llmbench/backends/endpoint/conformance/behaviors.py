"""Server behaviors, correct and faulty, each with its expected outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llmbench.backends.endpoint.conformance.wire import (
    TOKENS,
    WORDS,
    Action,
    End,
    Pause,
    chunked,
    completion,
    delta,
    done,
    event,
    head,
    last,
    plain,
    usage,
)

FOREVER = Pause(3600.0)
SINGLE_BYTES = 300
Script = Callable[[], Iterator[Action]]


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected record: its error kind or None, and its numbers of text chunks and tokens.

    ``tokens`` is None if the server reports no token count, so that the tokenizer determines it.
    """

    error: str | None = None
    chunks: int = TOKENS
    tokens: int | None = TOKENS


@dataclass(frozen=True, slots=True)
class Behavior:
    """A server behavior: its description, what the server sends, and the expected outcome."""

    name: str
    description: str
    script: Script
    expected: Expected = Expected()


BEHAVIORS: dict[str, Behavior] = {}


def _behavior(
    description: str, error: str | None = None, chunks: int = TOKENS, tokens: int | None = TOKENS
) -> Callable[[Script], Script]:
    def register(script: Script) -> Script:
        name = script.__name__.removeprefix("_").replace("_", "-")
        BEHAVIORS[name] = Behavior(name, description, script, Expected(error, chunks, tokens))
        return script

    return register


def _events(end: bytes = b"\n") -> list[bytes]:
    return [*(event(delta(word), end) for word in WORDS), event(last(), end), event(usage(), end)]


def _stream(end: bytes = b"\n") -> list[bytes]:
    return [*_events(end), done(end)]


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "server_error"}}).encode()


# -- correct answers in unusual form ---------------------------------------------------------------


@_behavior("one token per event, then token counts (usage) and [DONE]")
def _plain() -> Iterator[Action]:
    return chunked(_stream())


@_behavior("the whole response arrives in one TCP segment")
def _one_segment() -> Iterator[Action]:
    yield b"".join(part for part in chunked(_stream()) if isinstance(part, bytes))


@_behavior("lines end with CR LF")
def _crlf() -> Iterator[Action]:
    return chunked(_stream(b"\r\n"))


@_behavior("lines end with CR alone")
def _cr() -> Iterator[Action]:
    return chunked(_stream(b"\r"))


@_behavior("the stream begins with a byte order mark")
def _byte_order_mark() -> Iterator[Action]:
    return chunked([b"\xef\xbb\xbf", *_stream()])


@_behavior("comments keep the connection alive between events")
def _comments() -> Iterator[Action]:
    return chunked([b": ping\n\n" + part for part in _stream()])


@_behavior("no space follows `data:`")
def _no_space() -> Iterator[Action]:
    return chunked([part.replace(b"data: ", b"data:") for part in _stream()])


@_behavior("fields other than data: event, id, retry and an unknown one")
def _other_fields() -> Iterator[Action]:
    fields = b"event: message\nid: 7\nretry: 100\nflavor: sweet\n"
    return chunked([fields + part for part in _stream()])


@_behavior("the JSON of an event spans several data lines")
def _several_lines() -> Iterator[Action]:
    return chunked([part.replace(b', "', b',\ndata: "') for part in _stream()])


@_behavior("the first bytes arrive in TCP segments of one byte")
def _byte_by_byte() -> Iterator[Action]:
    response = b"".join(part for part in chunked(_stream()) if isinstance(part, bytes))
    yield from (response[index : index + 1] for index in range(SINGLE_BYTES))
    yield response[SINGLE_BYTES:]


@_behavior("a multi-byte character is split across two TCP segments and two HTTP chunks")
def _split_character() -> Iterator[Action]:
    return chunked([half for part in _stream() for half in _halves(part)])


def _halves(part: bytes) -> list[bytes]:
    index = next((i for i, byte in enumerate(part) if byte > 0x7F), None)  # noqa: PLR2004 (ASCII)
    return [part] if index is None else [part[: index + 1], part[index + 1 :]]


@_behavior("an event of more than 64 KB", chunks=1)
def _large_event() -> Iterator[Action]:
    return chunked([event(delta("word " * 20_000)), event(last()), event(usage()), done()])


@_behavior("the first chunk has only a role and is not a token")
def _role_only() -> Iterator[Action]:
    return chunked([event(delta("assistant", "role")), *_stream()])


@_behavior("each event has several tokens", chunks=2)
def _several_tokens() -> Iterator[Action]:
    halves = ["".join(WORDS[:4]), "".join(WORDS[4:])]
    return chunked([*(event(delta(half)) for half in halves), event(usage()), done()])


@_behavior("every other token has empty text", chunks=TOKENS // 2)
def _empty_text() -> Iterator[Action]:
    texts = [text for word in WORDS[::2] for text in ("", word)]
    return chunked([*(event(delta(text)) for text in texts), event(usage()), done()])


@_behavior("reasoning text precedes the content")
def _reasoning() -> Iterator[Action]:
    thoughts = [event(delta(word, "reasoning_content")) for word in WORDS[:3]]
    return chunked([*thoughts, *(event(delta(word)) for word in WORDS[3:]), event(usage()), done()])


@_behavior("every event has usage, with increasing token counts")
def _growing_usage() -> Iterator[Action]:
    counts = [delta(word, usage=usage(n)["usage"]) for n, word in enumerate(WORDS, start=1)]
    return chunked([*map(event, counts), done()])


@_behavior("no usage: the client has to count the tokens", tokens=None)
def _no_usage() -> Iterator[Action]:
    return chunked([*_events()[:-1], done()])


@_behavior("no chunked encoding: the body ends with the connection")
def _until_closed() -> Iterator[Action]:
    yield head("200 OK", "text/event-stream", "Connection: close")
    yield from _stream()
    yield End.CLOSE


@_behavior("a stream with a Content-Length")
def _known_length() -> Iterator[Action]:
    yield plain("200 OK", "text/event-stream; charset=utf-8", b"".join(_stream()))


@_behavior("HTTP 100 Continue precedes the response")
def _interim() -> Iterator[Action]:
    yield b"HTTP/1.1 100 Continue\r\n\r\n"
    yield from chunked(_stream())


@_behavior("events after [DONE], to be ignored")
def _after_done() -> Iterator[Action]:
    return chunked([*_stream(), event(delta(" more"))])


@_behavior("[DONE] is sent, but the response never ends")
def _never_ended() -> Iterator[Action]:
    return chunked([*_stream(), FOREVER], ended=False)


# -- faulty answers --------------------------------------------------------------------------------


@_behavior("HTTP 500", error="http-500", chunks=0, tokens=None)
def _internal_error() -> Iterator[Action]:
    yield plain("500 Internal Server Error", "application/json", _error("out of memory"))


@_behavior("HTTP 429 with Retry-After", error="http-429", chunks=0, tokens=None)
def _too_many() -> Iterator[Action]:
    yield plain("429 Too Many Requests", "application/json", _error("slow"), "Retry-After: 0.2")


@_behavior("a redirect, which is not followed", error="http-307", chunks=0, tokens=None)
def _redirect() -> Iterator[Action]:
    yield plain("307 Temporary Redirect", "text/plain", b"", "Location: /elsewhere")


@_behavior(
    "an error instead of a stream, with HTTP 200", error="server-error", chunks=0, tokens=None
)
def _error_as_success() -> Iterator[Action]:
    yield plain("200 OK", "application/json", _error("the engine is dead"))


@_behavior("a whole response instead of the requested stream", error="invalid-response", chunks=0,
            tokens=None)  # fmt: skip
def _not_streamed() -> Iterator[Action]:
    yield plain("200 OK", "application/json", completion())


@_behavior("an error mid-stream", error="server-error", chunks=3, tokens=None)
def _error_in_stream() -> Iterator[Action]:
    return chunked([*_events()[:3], event(_error("out of memory")), done()])


@_behavior("broken JSON mid-stream", error="invalid-chunk", chunks=3, tokens=None)
def _garbage() -> Iterator[Action]:
    return chunked([*_events()[:3], event(b'{"choices": [{"del'), *_stream()[3:]])


@_behavior("JSON of the wrong structure mid-stream", error="invalid-chunk", chunks=3, tokens=None)
def _other_shape() -> Iterator[Action]:
    return chunked([*_events()[:3], event({"choices": "none"}), *_stream()[3:]])


@_behavior("bytes that are not UTF-8", error="invalid-chunk", chunks=3, tokens=None)
def _not_utf8() -> Iterator[Action]:
    broken = event(delta("?")).replace(b"?", b"\xff\xfe")
    return chunked([*_events()[:3], broken, *_stream()[3:]])


@_behavior("the stream ends without [DONE]", error="truncated")
def _no_done() -> Iterator[Action]:
    return chunked(_events())


@_behavior("[DONE] without the empty line that makes it an event", error="truncated")
def _unfinished_done() -> Iterator[Action]:
    return chunked([*_events(), b"data: [DONE]\n"])


@_behavior("the connection is closed mid-stream", error="truncated", chunks=3, tokens=None)
def _closed() -> Iterator[Action]:
    yield from chunked(_events()[:3], ended=False)
    yield End.CLOSE


@_behavior("the connection is reset mid-stream", error="reset", chunks=3, tokens=None)
def _reset() -> Iterator[Action]:
    yield from chunked(_events()[:3], ended=False)
    yield Pause(0.05)
    yield End.RESET


@_behavior("the connection is closed before any response", error="reset", chunks=0, tokens=None)
def _no_answer() -> Iterator[Action]:
    yield End.CLOSE


@_behavior("not HTTP", error="invalid-response", chunks=0, tokens=None)
def _not_http() -> Iterator[Action]:
    yield b"SSH-2.0-OpenSSH_9.2\r\n"


@_behavior("no response", error="timeout-first-token", chunks=0, tokens=None)
def _silence() -> Iterator[Action]:
    yield FOREVER


@_behavior("the server stalls mid-stream", error="timeout-total", chunks=3, tokens=None)
def _frozen() -> Iterator[Action]:
    return chunked([*_events()[:3], FOREVER], ended=False)


@_behavior(
    "the response has fewer tokens than requested", error="too-few-tokens", chunks=5, tokens=5
)
def _too_few() -> Iterator[Action]:
    return chunked([*_events()[:5], event(last("stop")), event(usage(5)), done()])


@_behavior("a stream without tokens", error="too-few-tokens", chunks=0, tokens=0)
def _empty() -> Iterator[Action]:
    return chunked([event(last("stop")), event(usage(0)), done()])
