"""The recorded prompts of OpenTelemetry's spans: the messages of ``gen_ai.input.messages``.

They are JSON text or structured values, in the attributes of a span or of its event. Source:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from llmbench.errors import printable
from llmbench.runs.request import Message
from llmbench.runs.tables import LeftOutError
from llmbench.workloads.rows import MAX_NAME, messages_with_fields

MESSAGES, INSTRUCTIONS = "gen_ai.input.messages", "gen_ai.system_instructions"
EVENT = "gen_ai.client.inference.operation.details"
NOT_WHOLE = "with contents that are not whole"


def prompt_of(attributes: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the messages of a request's prompt; none if they are not recorded.

    Raises LeftOutError if they are not whole, as after an exporter cut them, or not text.
    """
    if attributes.get(MESSAGES) is None:
        return ()
    system = [{"role": "system", "parts": _listed(attributes.get(INSTRUCTIONS) or [])}]
    turns = [
        turn for message in (*system, *_listed(attributes[MESSAGES])) for turn in _turns(message)
    ]
    return tuple(message for message, _ in messages_with_fields(turns))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            raise LeftOutError(NOT_WHOLE) from None
    if not isinstance(value, list):
        raise LeftOutError(NOT_WHOLE)
    return value


def _turns(message: Any) -> Iterator[dict[str, Any]]:
    """Yield a message in OpenAI's form, after one for each result of a tool in it."""
    if not isinstance(message, dict):
        raise LeftOutError(NOT_WHOLE)
    if "parts" not in message:
        yield message
        return
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in _listed(message["parts"]):
        match part:
            case {"type": "text", "content": str(text)}:
                texts.append(text)
            case {"type": "tool_call", "name": str()}:
                calls.append(_call(part))
            case {"type": "tool_call_response"}:
                yield _result(part)
            case {"type": "reasoning"}:  # which clients do not send back
                continue
            case _:
                raise LeftOutError(f"with {_kind(part)} in a message")
    if texts or calls:
        of_calls = {"tool_calls": calls} if calls else {}
        yield {"role": message.get("role"), "content": "".join(texts), **of_calls}


def _call(part: dict[str, Any]) -> dict[str, Any]:
    function = {"name": part["name"], "arguments": _text(part.get("arguments", {}))}
    return {"id": str(part.get("id") or ""), "type": "function", "function": function}


def _result(part: dict[str, Any]) -> dict[str, Any]:
    content = part.get("response", part.get("result"))  # the latter in early versions
    return {"role": "tool", "tool_call_id": str(part.get("id") or ""), "content": _text(content)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _kind(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else part
    return printable(str(kind), MAX_NAME)
