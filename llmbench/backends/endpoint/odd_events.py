"""Events that differ from OpenAI's chunks: bring readable ones into that form, and find errors.

Some servers write JSON that strict parsers reject (NaN, lone surrogates), empty lists for missing
objects, or errors as plain text, as lists, or as objects without ``error``.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

MAX_DEPTH = 4
MAX_ERRORS = 8
MAX_INTEGER_DIGITS = 15
OBJECTS = frozenset({"delta", "message"})
ERROR_TEXTS = ("message", "error", "detail", "msg", "error_message", "error_msg", "errors")
_MEANT_AS_JSON = re.compile(r'[\[\s]*[{"]')


def standardized(data: bytes) -> bytes:
    """Return an event as JSON of OpenAI's form, with an error of any form as ``error``.

    Numbers that JSON lacks become null, and lone surrogates U+FFFD. Raise ValueError for broken
    JSON, for JSON that is not UTF-8, and for another type than an object.
    """
    text = data.decode("utf-8-sig", "replace").strip()
    if _MEANT_AS_JSON.match(text):
        value = _loaded(data.decode("utf-8-sig"))
    else:
        value = _value_or_text(text)
    written = json.dumps(_with_error(_as_object(value)), ensure_ascii=False)
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def error_text(error: Any, depth: int = MAX_DEPTH) -> str:
    """Return the text of an error: a string, a list of errors, or an object that contains one.

    The text is empty if the error is, as in ``{"message": ""}``.
    """
    if isinstance(error, str):
        return error.strip()
    if isinstance(error, list) and depth:
        texts = (error_text(part, depth - 1) for part in error[:MAX_ERRORS])
        return "; ".join(filter(None, texts))
    if isinstance(error, dict) and depth:
        texts = (error_text(error.get(name), depth - 1) for name in ERROR_TEXTS)
        text = next(filter(None, texts), "")
        if text or not any(error.values()):
            return _located(error, text)
    return json.dumps(error, ensure_ascii=False) if error else ""


def _located(error: dict[str, Any], text: str) -> str:
    """Return the text of an error after the field that it is about, as FastAPI names it."""
    field = error.get("loc")
    return f"{'.'.join(map(str, field))}: {text}" if field and isinstance(field, list) else text


def _loaded(text: str) -> Any:
    return json.loads(
        text,
        object_hook=_without_empty_objects,
        parse_int=_number,
        parse_float=_number,
        parse_constant=_number,
    )


def _value_or_text(text: str) -> Any:
    """Return null, a number or true as JSON, and anything else, such as an error, as text."""
    try:
        return _loaded(text or "null")
    except ValueError:
        return text


def _number(text: str) -> int | float | None:
    """Return a number, as a float if it has many digits; None for NaN and infinity."""
    digits = text.removeprefix("-")
    if digits.isdigit() and len(digits) <= MAX_INTEGER_DIGITS:
        return int(text)
    value = float(text)
    return value if isfinite(value) else None


def _without_empty_objects(fields: dict[str, Any]) -> dict[str, Any]:
    """Remove empty lists, empty texts and false in the place of objects, and empty choices."""
    return {name: value for name, value in fields.items() if value or not _is_left_out(name, value)}


def _is_left_out(name: str, value: Any) -> bool:
    return name == "choices" or (name in OBJECTS and not isinstance(value, dict))


def _as_object(value: Any) -> dict[str, Any]:
    match value:
        case dict():
            return value
        case [dict() as only]:
            return only
        case str() | list() if text := error_text(value):
            return {"error": text}
    if value:
        raise ValueError("expected a JSON object")
    return {}


def _with_error(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an object that has no answer with its error, if any, under ``error``."""
    error = fields.get("error")
    is_named = error and isinstance(error, str | list | dict)
    if is_named or fields.get("choices") or fields.get("usage"):
        return fields
    texts = (error_text(fields.get(name)) for name in ERROR_TEXTS if _may_be_error(fields, name))
    return {**fields, "error": next(filter(None, texts), error)}


def _may_be_error(fields: dict[str, Any], name: str) -> bool:
    """Return whether a field may have an error; an object ``message`` is one of the chat."""
    return name != "error" and not (name == "message" and isinstance(fields.get(name), dict))
