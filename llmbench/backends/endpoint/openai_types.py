"""OpenAI's API: request bodies, streamed chunks, complete responses, token counts and errors.

https://platform.openai.com/docs/api-reference/chat/streaming and .../completions; reasoning as in
vLLM (``reasoning``) and DeepSeek (``reasoning_content``); ``timings`` as in llama.cpp's server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from llmbench.runs.request import Request


@dataclass(frozen=True, slots=True)
class Payload:
    """Encodes HTTP requests; all have the same ``head`` and the fields in ``body``."""

    head: bytes
    body: Mapping[str, Any]
    chat: bool

    def __call__(self, request: Request) -> bytes:
        """Return the bytes of a request, head and body."""
        body = msgspec.json.encode({**self.body, **self._prompt(request)})
        return b"%bContent-Length: %d\r\n\r\n%b" % (self.head, len(body), body)

    def _prompt(self, request: Request) -> dict[str, Any]:
        fields: dict[str, Any] = {"max_tokens": request.max_new_tokens}
        if not self.chat:
            prompt = list(request.prompt) if request.text is None else request.whole_text
            return {"prompt": prompt, **fields}
        return {"messages": [message.as_dict() for message in request.chat], **fields}


def head(path: str, headers: Mapping[str, str]) -> bytes:
    """Return the request line and the headers, up to the value of Content-Length."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None


class Choice(msgspec.Struct):
    """One completion, or a part of it; the last part has the finish reason."""

    delta: _Message | None = None
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None

    @property
    def content(self) -> str:
        """The text of the completion, without reasoning."""
        message = self.delta or self.message
        if message is None:
            return self.text or ""
        return message.content or message.refusal or _tool_calls(message)

    @property
    def reasoning(self) -> str:
        """The reasoning text of the completion."""
        message = self.delta or self.message
        return "" if message is None else message.reasoning_content or message.reasoning or ""


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """The token counts reported by the server."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class Chunk(msgspec.Struct):
    """One event of a stream, or a complete response; unused fields are ignored."""

    choices: list[Choice] = []
    usage: Usage | None = None
    timings: Any = None  # llama.cpp's
    error: Any = None
    object: str | None = None
    message: Any = None

    @property
    def cached_tokens(self) -> int | None:
        """The number of prompt tokens from the server's prompt cache, or None."""
        details = self.usage.prompt_tokens_details if self.usage else None
        if details and details.cached_tokens is not None:
            return details.cached_tokens
        return self.timings.get("cache_n") if isinstance(self.timings, dict) else None

    @property
    def failure(self) -> str | None:
        """The text of an error sent instead of a completion, or None."""
        if self.error is not None:
            return error_text(self.error)
        return error_text(self.message) if self.object == "error" else None


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(data: bytes) -> Chunk:
    """Parse one event or one complete response.

    Raises ValueError for invalid JSON or an invalid chunk.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{error}: {data[:80]!r}") from None


def error_text(error: Any) -> str:
    """Return the text of an error, which is a string or has the text in ``message``."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("error") or error.get("detail") or error
        return error_text(error) if isinstance(error, dict) and "message" in error else str(error)
    return str(error)


def _tool_calls(message: _Message) -> str:
    return msgspec.json.encode(message.tool_calls).decode() if message.tool_calls else ""
