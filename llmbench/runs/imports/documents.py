"""Result files of other tools: one JSON document, or one to a line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from llmbench.errors import InputError

MOST_SHOWN = 80  # characters of a value in an error


class Shape(BaseModel):
    """What llmbench reads of another tool's data; whatever else stands there is left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)


S = TypeVar("S", bound=Shape)


@dataclass(frozen=True, slots=True)
class Document:
    """A file and the JSON values in it: one, or one of each line."""

    path: Path
    values: tuple[Any, ...]

    def where(self, index: int) -> str:
        """Name the place of a value in messages: the file, and its line where there are several."""
        return f"{self.path}:{index + 1}" if len(self.values) > 1 else str(self.path)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the first value; none where it is no object."""
        first = self.values[0]
        return frozenset(first) if isinstance(first, dict) else frozenset()


def read(path: Path) -> Document:
    """Read a file of JSON or of JSON lines; raises InputError when it is neither, or empty."""
    try:
        text = path.expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read: {why}; check the path") from None
    if not text.strip():
        raise InputError(f"{path}: is empty; expected the result file of a load tool")
    try:
        return Document(path, (json.loads(text),))
    except ValueError as error:
        return Document(path, tuple(_lines(path, text, str(error))))


def _lines(path: Path, text: str, why: str) -> list[Any]:
    """Read JSON lines; where already the first is none, ``why`` tells of the whole."""
    values: list[Any] = []
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            place, told = (f"{path}:{number}", str(error)) if values else (str(path), why)
            raise InputError(
                f"{place}: is no JSON: {told}; was the tool cut off while it wrote?"
            ) from None
    return values


def validated(shape: type[S], found: Any, where: str) -> S:
    """Check a value against a shape; raises InputError that says where, what and what was found."""
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        told = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        seen = "" if first["type"] == "missing" else f", found {repr(first['input'])[:MOST_SHOWN]}"
        raise InputError(f"{where}: {at or 'the whole'}: {told}{seen}") from None
