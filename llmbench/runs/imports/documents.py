"""Result files of other load tools: JSON, JSON Lines, CSV or YAML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from llmbench.errors import FileError, shown
from llmbench.runs.files import numbered_lines, parse_json, read_text
from llmbench.runs.tables import Cells, parse_csv, suffix_of
from llmbench.scenario.yaml_text import YamlTextError, compose

REMEDY = "if the tool was interrupted, run it again"
MAX_SECONDS, MAX_TOKENS = 1e11, 10**9  # the year 5138; more tokens than any context has
MAX_AMOUNT = 1e18
MAX_NANOSECONDS = 9 * 10**18  # the year 2255

Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]  # of a duration, or since 1970
Offset = Annotated[float, Meta(ge=-MAX_SECONDS, le=MAX_SECONDS)]
Nanoseconds = Annotated[int, Meta(ge=0, le=MAX_NANOSECONDS)]
Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
Amount = Annotated[float, Meta(ge=0, le=MAX_AMOUNT)]  # a rate, a size or a latency in any unit
Number = Annotated[float, Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base class for the data read from other tools; unknown keys are ignored."""


class Statistics(Shape, frozen=True, kw_only=True):
    """The statistics of a quantity that llmbench has too, in the unit of the tool."""

    mean: Amount | None = None
    p50: Amount | None = None
    p90: Amount | None = None
    p95: Amount | None = None
    p99: Amount | None = None

    @property
    def known(self) -> dict[str, float]:
        """The statistics that are in the file, by name."""
        values = {name: getattr(self, name) for name in Statistics.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None}


S = TypeVar("S", bound=Shape)


@dataclass(frozen=True, slots=True)
class Document:
    """A file and its values: one, or those of an array, of lines or of rows, with their places.

    A place is what follows the path in a message, such as ``:3`` or ``[2]``.
    """

    path: Path
    values: tuple[Any, ...]
    places: tuple[str, ...] = ("",)

    def where(self, index: int) -> str:
        """Return the location of a value: the file, with its place if there are several."""
        return f"{self.path}{self.places[index]}"

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the first value; empty if it is not an object."""
        first = self.values[0]
        return frozenset(first) if isinstance(first, dict) else frozenset()

    @property
    def only(self) -> Any:
        """The value of a file that may have only one; raises FileError if it has several."""
        if len(self.values) > 1:
            problem = f"has {len(self.values)} values"
            raise FileError(self.path, problem, "one", "write each to a file of its own")
        return self.values[0]

    @property
    def modified_at(self) -> str:
        """When the file was modified, as ISO 8601 text (UTC), for tools that store no time."""
        seconds = self.path.expanduser().stat().st_mtime
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def read_document(path: Path) -> Document:
    """Read a JSON, JSON Lines, CSV or YAML file.

    Raises FileError if it is unreadable, invalid or empty.
    """
    text = read_text(path)
    if not text.strip():
        raise FileError(path, "is empty", "the result file of a load tool")
    match suffix_of(path):
        case ".yaml" | ".yml":
            return Document(path, (_yaml(text, path),))
        case ".csv" | ".tsv":
            return _of_rows(parse_csv(text, path), path)
    try:
        value = parse_json(text, path, remedy=REMEDY)
    except FileError as of_document:
        return _of_lines(text, path, of_document)
    if isinstance(value, list) and value:
        return Document(path, tuple(value), tuple(f"[{index}]" for index in range(len(value))))
    return Document(path, (value,))


def _of_lines(text: str, path: Path, of_document: FileError) -> Document:
    values: dict[str, Any] = {}
    for number, line in numbered_lines(text):
        try:
            values[f":{number}"] = parse_json(line, path, number, REMEDY)
        except FileError as of_line:
            raise (of_line if values else of_document) from None
    return Document(path, tuple(values.values()), tuple(values))


def _of_rows(cells: Cells, path: Path) -> Document:
    rows = list(cells.rows())
    if not rows:
        raise FileError(path, "has no rows", "the result file of a load tool")
    return Document(
        path,
        tuple(row.value for row in rows),
        tuple(row.where.removeprefix(str(path)) for row in rows),
    )


def _yaml(text: str, path: Path) -> Any:
    try:
        return compose(text).plain()
    except YamlTextError as error:
        raise FileError(f"{path}:{error.line}", f"not valid YAML: {error}") from None


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


def moment(text: str, where: str) -> str:
    """Return a time in ISO 8601; raises FileError if it is not one."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        raise FileError(
            where, f"found {shown(text)}", "a time such as 2026-01-01T00:00:00Z"
        ) from None
