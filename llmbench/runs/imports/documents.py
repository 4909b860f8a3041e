"""Result files of other load tools: one JSON document, or JSON Lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from llmbench.errors import InputError
from llmbench.runs.files import read_text


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base class for the data read from other tools; unknown keys are ignored."""


S = TypeVar("S", bound=Shape)


@dataclass(frozen=True, slots=True)
class Document:
    """A file and its JSON values: one, or one per line."""

    path: Path
    values: tuple[Any, ...]

    def where(self, index: int) -> str:
        """Return the location of a value: the file, with the line if there are several."""
        return f"{self.path}:{index + 1}" if len(self.values) > 1 else str(self.path)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the first value; empty if it is not an object."""
        first = self.values[0]
        return frozenset(first) if isinstance(first, dict) else frozenset()


def read_document(path: Path) -> Document:
    """Read a JSON or JSON Lines file; raises InputError if it is unreadable, invalid or empty."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: is empty; expected the result file of a load tool")
    try:
        return Document(path, (json.loads(text),))
    except ValueError as error:
        return Document(path, tuple(_lines(path, text, str(error))))


def _lines(path: Path, text: str, of_document: str) -> list[Any]:
    """Parse JSON Lines; ``of_document`` is the error of parsing the file as one document."""
    values: list[Any] = []
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            where, reason = (f"{path}:{number}", str(error)) if values else (path, of_document)
            raise InputError(
                f"{where}: not valid JSON: {reason}; if the tool was interrupted, run it again"
            ) from None
    return values


def validated(shape: type[S], value: Any, where: str) -> S:
    """Convert a JSON value to a Shape; raises InputError with the file, key and problem."""
    try:
        return msgspec.convert(value, shape, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        at = f"{path.rstrip('`')}: " if path else ""
        raise InputError(f"{where}: {at}{message[0].lower()}{message[1:]}") from None
