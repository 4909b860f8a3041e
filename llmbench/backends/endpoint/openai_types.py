"""OpenAI's API: request bodies, streamed chunks, complete responses and errors.

https://platform.openai.com/docs/api-reference/chat/streaming and .../completions; reasoning as in
vLLM (``reasoning``), DeepSeek (``reasoning_content``) and Mistral (``thinking`` parts);
``timings`` as in llama.cpp's server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from llmbench.backends.endpoint.odd_events import error_text, standardized
from llmbench.runs.redaction import redact
from llmbench.runs.request import Request

LENGTH_FIELD = "max_tokens"
MAX_EXCERPT = 80
MAX_PART_DEPTH = 4
MAX_NUMBER = 10**15  # of a text sent as a number
TEXT_FIELDS = ("text", "content", "value", "refusal")
THINKING_FIELDS = ("thinking", "reasoning")
NO_TOOL_CALLS = frozenset({b"", b"null", b"[]", b"{}", b'""', b"false"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """What requests of a class have in common: a head per server, and fields of the body."""

    heads: tuple[bytes, ...]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Payload:
    """Encodes HTTP requests; those of a class in ``classes`` have their own envelope.

    ``length_field`` is the field with the number of tokens to generate; None leaves it out.
    ``session`` is the begin of a header that ends with the number of the request's session.
    """

    envelope: Envelope
    chat: bool
    length_field: str | None = LENGTH_FIELD
    session: bytes = b""
    classes: Mapping[str, Envelope] = field(default_factory=dict)

    def __call__(self, request: Request, server: int = 0) -> bytes:
        """Return the bytes of a request to one of the servers, head and body."""
        envelope = self.envelope
        if self.classes:
            envelope = self.classes.get(request.request_class or "", envelope)
        head = envelope.heads[server]
        if self.session and request.session is not None:
            head = b"%b%b%d\r\n" % (head, self.session, request.session)
        own = dict(request.constraint.fields) if request.constraint else {}
        if self.length_field:
            own[self.length_field] = request.max_new_tokens
        if request.model is not None:
            own["model"] = request.model
        body = msgspec.json.encode({**envelope.body, **self._prompt(request), **own})
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)

    def only(self, server: int) -> Payload:
        """Return the same payload for one of the servers alone."""
        return self._changed(lambda envelope: replace(envelope, heads=(envelope.heads[server],)))

    def without(self, name: str) -> Payload:
        """Return the same payload without a field of the body."""
        return self._changed(lambda envelope: replace(envelope, body=_without(envelope.body, name)))

    def _changed(self, change: Callable[[Envelope], Envelope]) -> Payload:
        classes = {name: change(envelope) for name, envelope in self.classes.items()}
        return replace(self, envelope=change(self.envelope), classes=classes)

    def _prompt(self, request: Request) -> dict[str, Any]:
        if not self.chat:
            return {"prompt": list(request.prompt) if request.text is None else request.whole_text}
        return {"messages": [message.as_dict() for message in request.chat]}


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


def head(path: str, headers: Mapping[str, str]) -> bytes:
    """Return the request line and the headers, up to the value of Content-Length."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


class _Message(msgspec.Struct):
    content: Any = None  # a text, or a list of parts
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class Choice(msgspec.Struct):
    """One completion, or a part of it; the last part has the finish reason."""

    index: Any = None
    delta: _Message | None = None
    message: _Message | None = None
    text: Any = None
    finish_reason: Any = None

    @property
    def content(self) -> str:
        """The text of the completion, without reasoning and tool calls."""
        message = self.delta or self.message
        content = self.text if message is None else message.content
        if isinstance(content, str) and content:
            return content
        text = _text(content)
        return text if text or message is None else _text(message.refusal)

    @property
    def tool_calls(self) -> str:
        """The tool calls of the completion, or their parts, as JSON; empty without any."""
        message = self.delta or self.message
        calls = b"" if message is None else bytes(message.tool_calls)
        return "" if calls in NO_TOOL_CALLS else calls.decode(errors="replace")

    @property
    def reasoning(self) -> str:
        """The reasoning text of the completion."""
        message = self.delta or self.message
        if message is None:
            return ""
        return _text(message.reasoning_content or message.reasoning) or _thinking(message.content)


class Chunk(msgspec.Struct):
    """One event of a stream, or a complete response; unused fields are ignored.

    ``error`` is the text of an error sent instead of a completion.
    """

    choices: list[Choice | None] | None = None
    usage: Any = None
    timings: Any = None  # llama.cpp's
    metrics: Any = None  # vLLM's
    id: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """Parse one event or one complete response.

    Raises ValueError for invalid JSON or an invalid chunk.
    """
    try:
        chunk = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_odd(data)
    if chunk.error or (chunk.choices is None and chunk.usage is None):
        return _read_odd(data)
    return chunk


def _read_odd(data: bytes) -> Chunk:
    """Parse an event that is not a usual chunk, such as an error."""
    try:
        chunk = _decode(standardized(data))
        chunk.error = error_text(chunk.error)
    except RecursionError:
        raise ValueError(f"nested too deeply: {_excerpt(data)}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"{error}: {_excerpt(data)}") from None
    return chunk


def _excerpt(data: bytes) -> str:
    return redact(data.decode(errors="replace"))[:MAX_EXCERPT]


def _text(value: Any, depth: int = MAX_PART_DEPTH) -> str:
    """Return a text, or that of a list of parts, which are objects with a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        return "".join(_text(part, depth - 1) for part in value)
    if isinstance(value, dict) and depth:
        texts = (_text(value.get(name), depth - 1) for name in TEXT_FIELDS)
        return next(filter(None, texts), "")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number and abs(value) < MAX_NUMBER else ""


def _thinking(content: Any) -> str:
    """Return the text of the reasoning parts in a list of parts."""
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict)]
    return "".join(_text(part.get(name)) for part in parts for name in THINKING_FIELDS)
