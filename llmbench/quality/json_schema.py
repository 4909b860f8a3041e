"""JSON schemas: checked when a file is read, and answers validated against them after a load.

https://json-schema.org/draft/2020-12, and earlier drafts by ``$schema``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import msgspec

from llmbench.errors import MissingExtraError
from llmbench.quality.time_limit import TookTooLong, time_limit

Schema = dict[str, Any] | bool

MAX_DEPTH = 64
SECONDS = 1.0  # of one answer, or of the check of one schema
TOO_SLOW = "the validation took too long"


class UndecidedError(Exception):
    """Whether a value fits a schema is not known; the message says why."""


def require(part: str) -> None:
    """Raise MissingExtraError, which names the ``part`` that needs it, without jsonschema."""
    if find_spec("jsonschema") is None:
        raise MissingExtraError(part, "jsonschema", "answers")


def check_schema(schema: Any) -> None:
    """Raise ValueError if a value is not a valid JSON schema, or refers to other documents."""
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 (an extra)

    if not isinstance(schema, dict | bool):
        raise ValueError("is not an object")  # noqa: TRY004 (of a user's file)
    for reference in _references(schema, MAX_DEPTH):
        if not reference.startswith("#"):
            raise ValueError("refers to another document; only references within it are followed")
    try:
        with time_limit(SECONDS):
            _validator(msgspec.json.encode(schema))
    except SchemaError as error:
        place = "".join(f".{part}" for part in error.absolute_path)
        raise ValueError(f"is not a JSON schema: {place[1:] or 'it'}: {error.message}") from None
    except (TookTooLong, RecursionError):
        raise ValueError("takes too long to check") from None


def violation(schema: Schema, value: Any) -> str | None:
    """Return the keyword of a schema that a value violates, such as ``required``; None if none.

    Raises UndecidedError if that takes too long, or a reference cannot be resolved.
    """
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 (an extra)

    try:
        with time_limit(SECONDS):
            error = next(_validator(msgspec.json.encode(schema)).iter_errors(value), None)
    except TookTooLong:
        raise UndecidedError(TOO_SLOW) from None
    except Unresolvable:
        raise UndecidedError("the schema has a reference to nothing") from None
    except RecursionError:
        raise UndecidedError("the answer or its schema is nested too deeply") from None
    return None if error is None else str(error.validator)


@lru_cache(maxsize=1024)
def _validator(encoded: bytes) -> Any:
    """Return the validator of a schema, which fetches no other documents."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 (an extra)
    from jsonschema.validators import validator_for  # noqa: PLC0415 (the same)
    from jsonschema_specifications import REGISTRY  # noqa: PLC0415 (the same)

    schema = msgspec.json.decode(encoded)
    draft = validator_for(schema, default=Draft202012Validator)
    draft.check_schema(schema)
    return draft(schema, registry=REGISTRY)


def _references(value: Any, depth: int) -> Iterator[str]:
    """Yield the references in a schema; raise ValueError if it is nested too deeply."""
    if not depth:
        raise ValueError(f"has more than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference
        for inner in value.values():
            yield from _references(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, depth - 1)
