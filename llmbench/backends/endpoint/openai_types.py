"""What a server's JSON says: the tokens of a chunk, the usage, an error in place of either.

https://platform.openai.com/docs/api-reference/chat/streaming and .../completions; reasoning as
vLLM (``reasoning``) and DeepSeek (``reasoning_content``) send it.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None


class Choice(msgspec.Struct):
    """One answer, or a part of it, and in the last part why it ended."""

    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None

    @property
    def content(self) -> str:
        """What was said, reasoning left out."""
        said = self.delta or self.message
        if said is None:
            return self.text or ""
        return said.content or said.refusal or _called(said)

    @property
    def reasoning(self) -> str:
        """What was thought before it was said."""
        said = self.delta or self.message
        return "" if said is None else said.reasoning_content or said.reasoning or ""


class Usage(msgspec.Struct):
    """How many tokens the server counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(msgspec.Struct):
    """One event of a stream, or a whole answer; what nobody here reads is passed over."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None
    object: str | None = None
    message: Any = None

    @property
    def failure(self) -> str | None:
        """The error that came in place of an answer, as text."""
        if self.error is not None:
            return said_in(self.error)
        return said_in(self.message) if self.object == "error" else None


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """Read the JSON of one event or one answer.

    Raises ValueError when it is no JSON or has not the shape of a chunk.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{error}: {data[:80]!r}") from None


def said_in(error: Any) -> str:
    """Give the text of an error as servers word it: a text, or something with a ``message``."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or error.get("detail") or error
        return said_in(error) if isinstance(error, dict) and "message" in error else str(error)
    return str(error)


def _called(said: _Message) -> str:
    return msgspec.json.encode(said.tool_calls).decode() if said.tool_calls else ""
