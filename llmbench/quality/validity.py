"""Whether an answer has the form that its request asks for: JSON of a schema, or a tool call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llmbench.quality.json_schema import Schema, UndecidedError, violation
from llmbench.runs.request import Constraint

MAX_CHARACTERS = 2**20  # of an answer that is parsed
NOT_JSON, NOT_AN_OBJECT, TOO_DEEP = "not JSON", "not a JSON object", "nested too deeply"
CUT = "cut at the requested length"
NO_CALL, UNASKED_CALL = "no tool call", "a tool call, unasked for"
MALFORMED_CALL, UNKNOWN_TOOL, OTHER_TOOL = "malformed tool call", "unknown tool", "another tool"
ARGUMENTS_NOT_JSON = "arguments that are not a JSON object"
FREE_TEXT = "text instead of a tool call, which `tool_choice: auto` allows"
TOO_LONG = f"more than {MAX_CHARACTERS:,} characters"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The name of a called tool, and its arguments as JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether an answer is valid, and why it is not; None if that is not decided, with why."""

    is_valid: bool | None
    reason: str | None = None


VALID = Validity(is_valid=True)


def judge(
    constraint: Constraint, content: str, calls: Sequence[ToolCall] | None, *, is_cut: bool = False
) -> Validity:
    """Return whether an answer has the form that its constraint asks for.

    ``calls`` are its tool calls, None if they are malformed; ``is_cut``: it reached the requested
    length, which then is the reason if it is invalid.
    """
    if len(content) + sum(len(call.arguments) for call in calls or ()) > MAX_CHARACTERS:
        return Validity(None, TOO_LONG)
    try:
        problem = _problem(constraint, content, calls)
    except UndecidedError as reason:
        return Validity(None, str(reason))
    if problem is None:
        return VALID
    return Validity(is_valid=False, reason=CUT if is_cut else problem)


def _problem(constraint: Constraint, content: str, calls: Sequence[ToolCall] | None) -> str | None:
    if constraint.kind == "tools":
        return _problem_of_calls(constraint.fields, calls)
    return _problem_of_json(content, schema_of(constraint.fields["response_format"]))


def schema_of(response_format: Mapping[str, Any]) -> Schema | None:
    """Return the schema of a response_format; None for an unspecified JSON object.

    OpenAI has it in ``json_schema``, llama.cpp's servers also have it beside the type.
    """
    inner = response_format.get("json_schema")
    schema: Schema | None = (inner if isinstance(inner, dict) else response_format).get("schema")
    return schema


def _problem_of_json(text: str, schema: Schema | None) -> str | None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return NOT_JSON
    except RecursionError:
        return TOO_DEEP
    if schema is None:
        return None if isinstance(value, dict) else NOT_AN_OBJECT
    keyword = violation(schema, value)
    return None if keyword is None else f"against the schema: {keyword}"


# -- tool calls ------------------------------------------------------------------------------------


def _problem_of_calls(fields: Mapping[str, Any], calls: Sequence[ToolCall] | None) -> str | None:
    if calls is None:
        return MALFORMED_CALL
    choice = fields.get("tool_choice", "auto")
    if choice == "none":
        return UNASKED_CALL if calls else None
    if not calls:
        if choice == "auto":
            raise UndecidedError(FREE_TEXT)
        return NO_CALL
    return next(filter(None, _problems(fields["tools"], choice, calls)), None)


def _problems(
    tools: Sequence[Mapping[str, Any]], choice: Any, calls: Sequence[ToolCall]
) -> Iterator[str | None]:
    parameters = {name: function.get("parameters") for name, function in functions(tools)}
    only = choice["function"]["name"] if isinstance(choice, Mapping) else None
    for call in calls:
        if call.name not in parameters:
            yield UNKNOWN_TOOL
        elif only is not None and call.name != only:
            yield OTHER_TOOL
        else:
            yield _problem_of_arguments(call.arguments, parameters[call.name])


def functions(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the description of each function among tools."""
    for tool in tools:
        yield tool["function"]["name"], tool["function"]


def _problem_of_arguments(arguments: str, schema: Schema | None) -> str | None:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError):
        return ARGUMENTS_NOT_JSON
    except RecursionError:
        return TOO_DEEP
    if not isinstance(value, dict):
        return ARGUMENTS_NOT_JSON
    keyword = violation(schema, value) if schema is not None else None
    return None if keyword is None else f"arguments against the schema: {keyword}"
