"""What the rows of a file ask of answers: their form, by OpenAI's fields, and the right ones.

https://platform.openai.com/docs/api-reference/chat/create; ``response_format`` may also have a
``schema`` beside ``type: json_object``, as llama.cpp's servers take it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llmbench.errors import FileError, shown
from llmbench.quality import json_schema
from llmbench.quality.validity import functions, schema_of
from llmbench.runs.files import parse_json
from llmbench.runs.request import Constraint, Expected
from llmbench.runs.tables import Row

FORMAT, TOOLS, CHOICE = "response_format", "tools", "tool_choice"
MAX_BYTES = 256 * 2**10  # of a row's constraint as JSON
MAX_TOOLS = 128
FORMATS = ("text", "json_object", "json_schema")
CHOICES = ("none", "auto", "required")
PART = "a dataset with JSON schemas"


def constraint_of(row: Row) -> Constraint | None:
    """Return the form of the answer that a row asks for; None if it asks for none.

    Values may be JSON texts, as in CSV files. Raises FileError if they are malformed, and
    MissingExtraError without the package that validates answers against schemas.
    """
    fields = {name: value for name in (FORMAT, TOOLS, CHOICE) if (value := _value(row, name))}
    _check_size(row, fields)
    if TOOLS in fields:
        return _of_tools(row, fields)
    if CHOICE in fields:
        raise FileError(row.where, f"{CHOICE}: found without `{TOOLS}`", "both, or neither")
    return _of_format(row, fields[FORMAT]) if FORMAT in fields else None


def _value(row: Row, name: str, openings: str = "{[") -> Any:
    """Return a value of a row; a text that begins with one of ``openings`` is read as JSON."""
    value = row.fields.get(name)
    if isinstance(value, str):
        value = value.strip()
        is_json = value and value[0] in openings
        return parse_json(value, f"{row.where}: {name}") if is_json else value
    return value


def _check_size(row: Row, fields: Mapping[str, Any]) -> None:
    try:
        size = len(msgspec.json.encode(fields))
    except (msgspec.MsgspecError, RecursionError, OverflowError, TypeError) as error:
        raise FileError(row.where, f"{', '.join(fields)}: {error}", "JSON") from None
    if size > MAX_BYTES:
        names = ", ".join(fields)
        raise FileError(row.where, f"{names}: {size:,} bytes as JSON", f"at most {MAX_BYTES:,}")


def _of_format(row: Row, value: Any) -> Constraint | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in FORMATS:
        raise FileError(row.where, f"{FORMAT}: found {shown(value)}", f"a type of {_or(FORMATS)}")
    if kind == "text":
        return None
    schema = schema_of(value)
    if schema is not None:
        _check_schema(schema, f"{row.where}: {FORMAT}")
        return Constraint("json_schema", {FORMAT: value})
    if kind == "json_schema":
        raise FileError(row.where, f"{FORMAT}: found {shown(value)}", "`json_schema: {schema: …}`")
    return Constraint("json_object", {FORMAT: value})


def _of_tools(row: Row, fields: Mapping[str, Any]) -> Constraint:
    if FORMAT in fields:
        raise FileError(row.where, f"found `{FORMAT}` and `{TOOLS}`", "only one of them")
    tools = fields[TOOLS]
    if not isinstance(tools, list) or not all(map(_is_tool, tools)):
        expected = "a list of {type: function, function: {name: …, parameters: …}}"
        raise FileError(row.where, f"{TOOLS}: found {shown(tools)}", expected)
    if len(tools) > MAX_TOOLS:
        raise FileError(row.where, f"{TOOLS}: found {len(tools)} tools", f"at most {MAX_TOOLS}")
    for name, function in functions(tools):
        if (parameters := function.get("parameters")) is not None:
            _check_schema(parameters, f"{row.where}: {TOOLS}: {shown(name)}")
    _check_choice(row, fields.get(CHOICE, "auto"), {name for name, _ in functions(tools)})
    return Constraint("tools", fields)


def _is_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _check_choice(row: Row, choice: Any, names: set[str]) -> None:
    """Raise FileError unless a tool_choice is one of CHOICES, or a function of these names."""
    if choice in CHOICES:
        return
    if not isinstance(choice, dict) or not _is_tool(choice):
        expected = f"{_or(CHOICES)}, or {{type: function, function: {{name: …}}}}"
        raise FileError(row.where, f"{CHOICE}: found {shown(choice)}", expected)
    if (name := choice["function"]["name"]) not in names:
        raise FileError(row.where, f"{CHOICE}: found {shown(name)}", _or(sorted(names)))


def _check_schema(schema: Any, where: str) -> None:
    json_schema.require(PART)
    try:
        json_schema.check_schema(schema)
    except ValueError as error:
        raise FileError(where, f"the schema {error}") from None


def _or(names: Any) -> str:
    return " or ".join(names)


# -- right answers ---------------------------------------------------------------------------------


def expected_of(row: Row, column: str) -> Expected | None:
    """Return the right answer in a column: a number, a choice or a regular expression, or None.

    ``{"choice": "B", "of": ["A", "B", "C"]}`` is one of several choices, and ``{"regex": "..."}``
    what a regular expression finds; a text is a choice without others. Texts may be JSON, as in CSV
    files. Raises FileError for anything else.
    """
    value = _value(row, column, "{")
    if value is None or value == "":
        return None
    expected = _expected(value)
    if expected is None:
        forms = '42, "B", {"choice": "B", "of": ["A", "B"]} or {"regex": "…"}'
        raise FileError(row.where, f"{column}: found {shown(value)}", forms)
    if expected.kind == "regex":
        _check_regex(expected.value, f"{row.where}: {column}")
    return expected


def _expected(value: Any) -> Expected | None:
    match value:
        case bool():
            return None
        case int() | float() if math.isfinite(value):
            return Expected("number", repr(value))
        case str():
            is_number = re.fullmatch(r"[+-]?\d+(\.\d+)?", value)
            return Expected("number" if is_number else "choice", value, (value,))
        case {"choice": str(choice), "of": [*choices], **others} if not others:
            is_one = choice in choices and all(isinstance(c, str) and c.strip() for c in choices)
            return Expected("choice", choice, tuple(choices)) if is_one else None
        case {"regex": str(pattern), **others} if pattern and not others:
            return Expected("regex", pattern)
    return None


def _check_regex(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise FileError(where, f"{shown(pattern)}: {error}", "a regular expression") from None
