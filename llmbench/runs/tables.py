"""Rows of JSON, JSON Lines, CSV, TSV and Parquet files, and a count of those that are left out."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from llmbench.errors import FileError, printable, shown
from llmbench.runs.caveats import Caveat
from llmbench.runs.files import (
    MAX_BYTES,
    decoded,
    numbered_lines,
    parse_json,
    read_bytes,
    split_lines,
)
from llmbench.units import format_bytes

T = TypeVar("T")
PARQUET = b"PAR1"
JSON_SUFFIXES, CSV_SUFFIXES = (".json", ".jsonl", ".ndjson"), (".csv", ".tsv")
MAX_PARQUET_ROWS = 50_000_000
MAX_NAMES = 300  # characters of the names of columns in a message
MAX_REASONS = 5
LONE_CR = re.compile(r"\r(?!\n)")
REPEATED_HEADER = "with the header repeated"
UNREADABLE = (OSError, ValueError, OverflowError, pa.ArrowException)


class LeftOutError(Exception):
    """A well-formed row that cannot be used; the message completes "3 rows ..."."""


@dataclass(slots=True)
class LeftOut:
    """The rows of a file that are left out, counted by reason: ``without a prompt``."""

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    kept: int = 0

    @property
    def reasons(self) -> list[str]:
        """The most frequent reasons with their numbers of rows: ``3 without a prompt``."""
        ordered = self.counts.most_common()
        reasons = [f"{count:,} {reason}" for reason, count in ordered[:MAX_REASONS]]
        others = sum(count for _, count in ordered[MAX_REASONS:])
        return [*reasons, f"{others:,} for other reasons"] if others else reasons

    def caveats(self) -> tuple[Caveat, ...]:
        """Return a caveat with the numbers of rows by reason, if any row is left out."""
        if not self.counts:
            return ()
        file, rows = printable(self.path.name), self.counts.total()
        total = rows + self.kept
        return (Caveat("rows-left-out", file=file, rows=rows, total=total, reasons=self.reasons),)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file; ``where`` is its location: the file with the line or index."""

    where: str
    value: Any

    @property
    def fields(self) -> Mapping[str, Any]:
        """The values by column; empty if the row has no columns."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def columns(self) -> str:
        """The names of the row's columns for a message, or the value of a row without any."""
        if not isinstance(self.value, dict):
            return shown(self.value)
        return printable(", ".join(map(str, self.value)) or "no columns", MAX_NAMES)


@dataclass(frozen=True, slots=True)
class Converted(Generic[T]):
    """The usable rows of a file, converted, and the count of the others."""

    values: list[T]
    left_out: LeftOut


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file. ``is_typed``: values have types, unlike the texts of a CSV file."""

    path: Path
    rows: Sequence[Row]
    left_out: LeftOut
    is_typed: bool = True

    def require(self, column: str, option: str) -> None:
        """Raise FileError if rows lack a column, which the scenario key ``option`` names."""
        if not self.rows or any(column in row.fields for row in self.rows):
            return
        first, expected = self.rows[0], f"a column {shown(column)}"
        near = get_close_matches(column, list(map(str, first.fields)), n=1)
        hint = f"did you mean {shown(near[0])}? " if near else ""
        raise FileError(first.where, f"found {first.columns}", expected, f"{hint}set `{option}`")

    def convert(self, convert: Callable[[Row], T], expected: str) -> Converted[T]:
        """Convert all rows but those that raise LeftOutError, which are counted.

        Raises FileError if rows are malformed, or if no row is left.
        """
        values: list[T] = []
        malformed: list[FileError] = []
        for row in self.rows:
            try:
                values.append(convert(row))
            except LeftOutError as reason:
                self.left_out.counts[str(reason)] += 1
            except FileError as error:
                malformed.append(error)
        if malformed:
            raise FileError.of_all(malformed)
        if not values:
            reasons = ", ".join(self.left_out.reasons)
            problem = f"no row can be used: {reasons}" if reasons else "has no rows"
            raise FileError(self.path, problem, expected)
        self.left_out.kept = len(values)
        return Converted(values, self.left_out)


# -- any format ------------------------------------------------------------------------------------


def read_table(path: Path) -> Table:
    """Return the rows of a file; raises FileError if it cannot be read."""
    return parse_table(read_bytes(path), path)


def parse_table(data: bytes, path: Path) -> Table:
    """Return the rows in the content of a file; raises FileError if it is malformed.

    The format follows from the suffix of ``path``, in any case and with or without ``.gz``, else
    from the content.
    """
    if data.startswith(PARQUET) or suffix_of(path) == ".parquet":
        return Table(path, _parquet_rows(data, path), LeftOut(path))
    text = decoded(data, path)
    if is_json(text, path):
        return Table(path, _json_rows(text, path), LeftOut(path))
    cells = parse_csv(text, path)
    return Table(path, list(cells.rows()), cells.left_out, is_typed=False)


def suffix_of(path: Path) -> str:
    """Return the suffix of a file name in lower case, before any ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def is_json(text: str, path: Path) -> bool:
    """Return whether a file is JSON by its suffix, or by its first character if that is unknown."""
    suffix = suffix_of(path)
    is_known = suffix in JSON_SUFFIXES or suffix in CSV_SUFFIXES
    return suffix in JSON_SUFFIXES if is_known else text.lstrip().startswith(("{", "["))


# -- Parquet ---------------------------------------------------------------------------------------


def read_parquet(path: Path, remedy: str) -> pa.Table:
    """Return the table in a Parquet file; raises FileError, whose message ends with ``remedy``."""
    return parse_parquet(read_bytes(path), path, remedy)


def parse_parquet(data: bytes, path: object, remedy: str = "") -> pa.Table:
    """Return the table in the content of a Parquet file; raises FileError if it is damaged."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_size(file.metadata, path)
        table = file.read()
        table.validate(full=True)
    except UNREADABLE as error:
        raise FileError(path, f"cannot be read as Parquet: {error}", remedy=remedy) from None
    return table


def _check_size(metadata: pq.FileMetaData, path: object) -> None:
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    size = sum(group.total_byte_size for group in groups)
    if metadata.num_rows > MAX_PARQUET_ROWS or size > MAX_BYTES:
        most = f"at most {MAX_PARQUET_ROWS:,} rows and {format_bytes(MAX_BYTES)}"
        raise FileError(path, f"has {metadata.num_rows:,} rows and {format_bytes(size)}", most)


def _parquet_rows(data: bytes, path: Path) -> list[Row]:
    table = parse_parquet(data, path)
    try:
        values = table.to_pylist()
    except UNREADABLE as error:  # such as times that Python cannot represent
        raise FileError(path, f"cannot be read as Parquet: {error}") from None
    return [Row(f"{path}:{number}", value) for number, value in enumerate(values, start=1)]


# -- JSON ------------------------------------------------------------------------------------------


def _json_rows(text: str, path: Path) -> list[Row]:
    """Return the items of a JSON array, the values of JSON Lines, or a single value as a row."""
    if text.lstrip().startswith("["):
        items = enumerate(parse_json(text, path))
        return [Row(f"{path}[{index}]", value) for index, value in items]
    try:
        return list(_json_lines(text, path))
    except FileError:
        with suppress(FileError):
            return [Row(f"{path}:1", parse_json(text, path))]
        raise


def _json_lines(text: str, path: Path) -> Iterator[Row]:
    malformed: list[FileError] = []
    for number, line in numbered_lines(text):
        try:
            value = parse_json(line, path, number, "write one object per line")
        except FileError as error:
            malformed.append(error)
        else:
            yield Row(f"{path}:{number}", value)
    if malformed:
        raise FileError.of_all(malformed)


# -- CSV -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cells:
    """A CSV or TSV file as texts: the names in its header, and the cells of each other line.

    Lines have the number of their first line in the file. Lines that repeat the header, as where
    files were concatenated, are left out.
    """

    path: Path
    header: list[str]
    lines: list[tuple[int, list[str]]]
    left_out: LeftOut

    def rows(self) -> Iterator[Row]:
        """Yield each line as a row; cells missing at its end are None.

        Raises FileError if columns have the same name.
        """
        names = Counter(filter(None, self.header))
        if repeated := [name for name, count in names.items() if count > 1]:
            problem = f"several columns are named {shown(repeated[0])}"
            raise FileError(self.path, problem, remedy="rename all but one")
        missing = [None] * len(self.header)
        for number, cells in self.lines:
            values = [*cells, *missing[len(cells) :]]
            yield Row(f"{self.path}:{number}", dict(zip(self.header, values, strict=True)))


def parse_csv(text: str, path: Path) -> Cells:
    """Return the cells of a CSV text, or of a TSV text by its suffix or header.

    Raises FileError for unbalanced quotes, and for lines that are longer than the header.
    """
    numbered = list(_csv_lines(text, path))
    header = [name.strip() for name in numbered[0][1]] if numbered else []
    lines = [line for line in numbered if [cell.strip() for cell in line[1]] != header]
    left_out = LeftOut(path)
    if repeats := len(numbered) - len(lines) - bool(numbered):
        left_out.counts[REPEATED_HEADER] = repeats
    _check_lengths(lines, len(header), path)
    return Cells(path, header, lines, left_out)


def _csv_lines(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each line that is not blank, with the number of its first line."""
    csv.field_size_limit(MAX_BYTES)
    header, *_ = texts = split_lines(text)
    is_tabbed = suffix_of(path) == ".tsv" or ("\t" in header and "," not in header)
    lines = (f"{line}\n" for line in texts)
    reader = csv.reader(lines, delimiter="\t" if is_tabbed else ",", strict=True)
    number = 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        reason = "a CR without an LF" if LONE_CR.search(text) else error
        remedy = "end lines with LF or CRLF, and quote cells that contain quotes"
        raise FileError(f"{path}:{number}", f"not valid CSV: {reason}", remedy=remedy) from None


def _check_lengths(lines: Iterable[tuple[int, list[str]]], width: int, path: Path) -> None:
    """Raise FileError if lines have more cells than the header, whose meaning is unknown."""
    expected, remedy = f"{width}, as in the header", "quote cells that contain the delimiter"
    malformed = [
        FileError(f"{path}:{number}", f"found {len(cells)} cells", expected, remedy)
        for number, cells in lines
        if len(cells) > width
    ]
    if malformed:
        raise FileError.of_all(malformed)
