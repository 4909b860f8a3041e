"""Result files of other load tools: one JSON document, or JSON Lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from llmbench.errors import FileError
from llmbench.runs.files import numbered_lines, parse_json, read_text

REMEDY = "if the tool was interrupted, run it again"
MAX_SECONDS, MAX_TOKENS = 1e11, 10**9  # the year 5138; more tokens than any context has
MAX_NANOSECONDS = 9 * 10**18  # the year 2255

Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]  # of a duration, or since 1970
Offset = Annotated[float, Meta(ge=-MAX_SECONDS, le=MAX_SECONDS)]
Nanoseconds = Annotated[int, Meta(ge=0, le=MAX_NANOSECONDS)]
Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base class for the data read from other tools; unknown keys are ignored."""


S = TypeVar("S", bound=Shape)


@dataclass(frozen=True, slots=True)
class Document:
    """A file and its JSON values: one, or one per line with the number of that line."""

    path: Path
    values: tuple[Any, ...]
    lines: tuple[int, ...] = (1,)

    def where(self, index: int) -> str:
        """Return the location of a value: the file, with the line if there are several."""
        return f"{self.path}:{self.lines[index]}" if len(self.values) > 1 else str(self.path)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the first value; empty if it is not an object."""
        first = self.values[0]
        return frozenset(first) if isinstance(first, dict) else frozenset()


def read_document(path: Path) -> Document:
    """Read a JSON or JSON Lines file; raises FileError if it is unreadable, invalid or empty."""
    text = read_text(path)
    lines = list(numbered_lines(text))
    if not lines:
        raise FileError(path, "is empty", "the result file of a load tool")
    try:
        return Document(path, (parse_json(text, path, remedy=REMEDY),))
    except FileError as of_document:
        values = []
        for number, line in lines:
            try:
                values.append(parse_json(line, path, number, REMEDY))
            except FileError as of_line:
                raise (of_line if values else of_document) from None
        return Document(path, tuple(values), tuple(number for number, _ in lines))


def validated(shape: type[S], value: Any, where: str) -> S:
    """Convert a JSON value to a Shape; raises FileError with the file, key and problem."""
    try:
        return msgspec.convert(value, shape, strict=False)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        at = f"{path.rstrip('`')}: " if path else ""
        raise FileError(where, f"{at}{message[0].lower()}{message[1:]}") from None
    except RecursionError:
        raise FileError(where, "nested too deeply") from None
