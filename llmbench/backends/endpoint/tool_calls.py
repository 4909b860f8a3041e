"""Tool calls, assembled from the parts that a stream has in its chunks.

https://platform.openai.com/docs/guides/function-calling#streaming: a part has the index of its
call, the first one its name, and each a piece of its arguments. Some servers repeat the name, send
arguments as an object, or give each complete call the index 0 and an id of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from llmbench.quality.validity import ToolCall

MAX_CALLS = 1024


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _Part(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


@dataclass(slots=True)
class _Call:
    id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)


_decode = msgspec.json.Decoder(list[_Part]).decode


def assembled(chunks: Iterable[str]) -> list[ToolCall] | None:
    """Return the tool calls of a response, given those of each chunk as JSON, in order.

    None if they are malformed.
    """
    calls: dict[tuple[int, str], _Call] = {}
    latest: dict[int, tuple[int, str]] = {}
    try:
        for chunk in chunks:
            for position, part in enumerate(_decode(chunk)):
                _add(part, position, calls, latest)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if len(calls) > MAX_CALLS:
        return None
    return [ToolCall(call.name, "".join(call.arguments)) for call in calls.values()]


def _add(
    part: _Part,
    position: int,
    calls: dict[tuple[int, str], _Call],
    latest: dict[int, tuple[int, str]],
) -> None:
    """Add a part to its call: that of its index, unless the part has another id."""
    index = position if part.index is None else part.index
    key = latest.get(index)
    if key is None or (part.id and calls[key].id and part.id != calls[key].id):
        key = latest[index] = (index, part.id or "")
        calls.setdefault(key, _Call(part.id or ""))
    call, function = calls[key], part.function or _Function()
    call.id = call.id or part.id or ""
    call.name = call.name or function.name or ""
    call.arguments.append(_text(function.arguments))


def _text(arguments: Any) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
