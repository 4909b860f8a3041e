"""Checks of stored JSON against msgspec types, with errors that name the file and the key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from llmbench.errors import FileError, shown

LARGEST = 2.0**64  # of numbers; their squares and products stay finite
DEEPEST = 64

T = TypeVar("T")


def checked(content: object, kind: type[T], path: str | Path, remedy: str) -> T:
    """Convert a file's content to the type ``kind``; raises FileError with the file and key.

    Numbers must be finite and texts valid Unicode, also where the type allows any value.
    """
    problem = next(_problems(content), None)
    if problem is None:
        try:
            return msgspec.convert(content, kind)
        except msgspec.ValidationError as error:
            problem = str(error)
    raise FileError(path, f"not in llmbench's format: {problem}", remedy=remedy)


def _problems(content: object) -> Iterator[str]:
    """Yield each number, text and nesting that no field may have, with its key."""
    nodes: list[tuple[str, object, int]] = [("$", content, 0)]
    while nodes:
        key, node, depth = nodes.pop()
        match node:
            case int() | float() if not -LARGEST <= node <= LARGEST:
                yield f"expected a number between ±{LARGEST:.1e} - at `{key}`"
            case str() if not _is_unicode(node):
                yield f"expected text, found half of a surrogate pair - at `{key}`"
            case dict() | list() if depth == DEEPEST:
                yield f"nested more than {DEEPEST} levels deep - at `{key}`"
            case dict():
                nodes += [(f"{key}.{name}", inner, depth + 1) for name, inner in node.items()]
                nodes += [(key, name, depth) for name in node]
            case list():
                nodes += [(f"{key}[{i}]", inner, depth + 1) for i, inner in enumerate(node)]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- for the __post_init__ of types, whose ValueErrors become errors with a key --------------------


def check_part(value: object, kind: object, key: str) -> None:
    """Raise ValueError, with the key, if plain data does not have the type ``kind``."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, inner = str(error).partition(" - at `$")
        raise ValueError(f"{reason} - at `{key}{inner.rstrip('`')}`") from None


def check_moment(text: str) -> None:
    """Raise ValueError if a text is not a time in ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("`began_at` is not a time such as 2026-01-01T00:00:00+00:00") from None


def check_unique(what: str, names: Iterable[object]) -> None:
    """Raise ValueError if a name occurs several times."""
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{count} {what} are {shown(name)}")
