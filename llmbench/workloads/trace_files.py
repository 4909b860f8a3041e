"""Request traces of production services, read into a common form.

* Azure (2023, 2024): https://github.com/Azure/AzurePublicDataset
* Bailian: https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon
* Mooncake: https://github.com/kvcache-ai/Mooncake
* BurstGPT: https://github.com/HPMLL/BurstGPT
* Splitwise: https://github.com/Mutinifni/splitwise-sim
* Vidur: https://github.com/microsoft/vidur
* llmbench's own format, which is also that of a run's stored schedule
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from llmbench import plugins
from llmbench.errors import FileError, shown
from llmbench.runs.files import parse_json, read_bytes
from llmbench.runs.tables import LeftOut, LeftOutError, Row, Table, parse_table, suffix_of
from llmbench.workloads.rows import MAX_TOKENS

FormatName = Literal[
    "auto", "azure", "bailian", "mooncake", "burstgpt", "splitwise", "vidur", "llmbench"
]
TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS: Mapping[TimeUnit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MAX_SECONDS = 1e11  # the year 5138
IMPOSSIBLE = "with an infinite or impossible time"


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of a trace: its arrival (seconds since the trace began) and its lengths.

    ``blocks`` are the ids of the prompt's blocks, if recorded; prompts with equal leading blocks
    share a prefix.
    """

    time: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    request_class: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedTrace:
    """The requests of a trace by time, the length of their blocks, and the rows left out."""

    rows: list[TraceRow]
    block_tokens: int
    left_out: LeftOut


# -- formats ---------------------------------------------------------------------------------------


class Columns(plugins.Options):
    """``{arrival: started_at, prompt_tokens: input, output_tokens: output}``."""

    arrival: str = Field(description="field of arrival times: numbers, or ISO 8601")
    prompt_tokens: str = Field(description="field of prompt lengths in tokens")
    output_tokens: str = Field(description="field of output lengths in tokens")
    blocks: str | None = Field(default=None, description="field of lists of prompt block ids")
    request_class: str | None = Field(default=None, description="field of request classes")

    @property
    def needed(self) -> dict[str, str]:
        """The fields that every row has, by key."""
        return self.model_dump(include={"arrival", "prompt_tokens", "output_tokens"})


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """The fields of a trace, the unit of numeric times, and the length of blocks in tokens.

    ``marks`` are further fields, of which rows in this format have at least two. ``is_closed``:
    rows have no unknown fields.
    """

    columns: Columns
    unit: TimeUnit = "s"
    block_tokens: int = 512
    marks: frozenset[str] = frozenset()
    is_closed: bool = False

    def fits(self, fields: set[str]) -> bool:
        """Return whether a row with these fields can be of this format."""
        is_marked = not self.marks or len(self.marks & fields) > 1
        return is_marked and fields.issuperset(self.columns.needed.values())


def _columns(arrival: str, prompt: str, output: str, **optional: str) -> Columns:
    return Columns(arrival=arrival, prompt_tokens=prompt, output_tokens=output, **optional)


MOONCAKE = _columns("timestamp", "input_length", "output_length", blocks="hash_ids")
FORMATS: dict[str, TraceFormat] = {  # the first that fits is taken
    "azure": TraceFormat(_columns("TIMESTAMP", "ContextTokens", "GeneratedTokens")),
    "bailian": TraceFormat(
        MOONCAKE, "s", 16, frozenset({"chat_id", "parent_chat_id", "type", "turn"})
    ),
    "mooncake": TraceFormat(MOONCAKE, "ms", 512),
    "burstgpt": TraceFormat(_columns("Timestamp", "Request tokens", "Response tokens")),
    "splitwise": TraceFormat(_columns("arrival_timestamp", "prompt_size", "token_size")),
    "vidur": TraceFormat(_columns("arrived_at", "num_prefill_tokens", "num_decode_tokens")),
    "llmbench": TraceFormat(
        Columns(
            arrival="time",
            prompt_tokens="prompt_tokens",
            output_tokens="output_tokens",
            blocks="blocks",
            request_class="request_class",
        ),
        is_closed=True,
    ),
}


# -- reading ---------------------------------------------------------------------------------------


def read_trace(
    path: Path,
    format: FormatName = "auto",  # noqa: A002 (what the key is called)
    columns: Columns | None = None,
    time_unit: TimeUnit | None = None,
) -> RecordedTrace:
    """Return the requests of a trace, ordered by time.

    ``columns`` describes a format that is not known, and ``time_unit`` overrides that of a format.
    Rows without a finite time, or without prompt or output tokens, are left out and counted. Raises
    FileError when the file cannot be read, has an unknown format, no requests, or malformed rows,
    which are listed by line.
    """
    return parse_trace(read_bytes(path), path, format, columns, time_unit)


def parse_trace(
    data: bytes,
    path: Path,
    format: FormatName = "auto",  # noqa: A002 (what the key is called)
    columns: Columns | None = None,
    time_unit: TimeUnit | None = None,
) -> RecordedTrace:
    """Return the requests in the content of a trace file, as `read_trace` does."""
    table = parse_table(data, path)
    known = _recognized(table) if columns is None and format == "auto" else FORMATS.get(format)
    shape = TraceFormat(columns) if columns else known
    assert shape is not None  # noqa: S101 (formats are validated)
    if time_unit:
        shape = replace(shape, unit=time_unit)
    for key, field in shape.columns.needed.items():
        table.require(field, f"columns.{key}" if columns else "format")
    converted = table.convert(
        _Reader(shape).row, "requests with a time (in `time_unit`) and tokens"
    )
    rows = sorted(converted.values, key=lambda row: row.time)
    # schedule times count from the start of the load, those of other traces from the first request
    is_schedule = shape.is_closed and suffix_of(path) == ".parquet"
    origin = 0.0 if is_schedule else rows[0].time
    rows = [replace(row, time=row.time - origin) for row in rows]
    return RecordedTrace(rows, shape.block_tokens, converted.left_out)


def _recognized(table: Table) -> TraceFormat:
    """Return the first format that fits the fields of the first row."""
    if not table.rows:
        raise FileError(table.path, "has no rows", "requests")
    first = table.rows[0]
    fields = set(first.fields)
    for shape in FORMATS.values():
        if shape.fits(fields):
            return shape
    raise FileError(
        first.where,
        f"unknown trace format (fields: {first.columns})",
        ", ".join(FORMATS),
        "describe other formats by `columns`",
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads rows of a format; a row that is not a request raises LeftOutError, else FileError."""

    shape: TraceFormat

    def row(self, row: Row) -> TraceRow:
        columns = self.shape.columns
        if not isinstance(row.value, dict):
            raise FileError(row.where, f"found {shown(row.value)}", "an object")
        if self.shape.is_closed and (unknown := set(row.fields) - set(dict(columns).values())):
            raise FileError(row.where, f"unknown field {shown(min(unknown))}")
        name = row.fields.get(columns.request_class) if columns.request_class else None
        return TraceRow(
            self._time(row),
            _tokens(row, columns.prompt_tokens, "prompt"),
            _tokens(row, columns.output_tokens, "output"),
            _blocks(row, columns.blocks) if columns.blocks else (),
            None if name in (None, "") else str(name),
        )

    def _time(self, row: Row) -> float:
        """Return the arrival time in seconds since any moment."""
        field = self.shape.columns.arrival
        value = row.fields.get(field)
        if _is_blank(value):
            without = (
                "with a delay instead of a time" if "delay" in row.fields else "without a time"
            )
            raise LeftOutError(without)
        moment = _moment(value)
        if moment is not None:
            return moment.timestamp()
        time = _number(row, field, "a number or an ISO 8601 time") * UNITS[self.shape.unit]
        if not abs(time) < MAX_SECONDS:
            raise LeftOutError(IMPOSSIBLE)
        if time < 0:
            raise FileError(row.where, f"{field}: found {shown(value)}", "a time of at least 0")
        return time


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _moment(value: Any) -> datetime | None:
    """Return a date with a time, in UTC unless it has a zone; None for anything else."""
    if isinstance(value, str) and _as_number(value) is None:
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _as_number(value: Any) -> float | None:
    """Return a number, perhaps written as text: infinity if too large, None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (ValueError, TypeError):
        return None


def _number(row: Row, field: str, expected: str = "a number") -> float:
    number = _as_number(row.fields[field])
    if number is None:
        raise FileError(row.where, f"{field}: found {shown(row.fields[field])}", expected)
    return number


def _tokens(row: Row, field: str, kind: str) -> int:
    """Return a number of tokens, which is not 0."""
    if _is_blank(row.fields.get(field)):
        raise LeftOutError(f"without {kind} tokens")
    number = _number(row, field)
    if number == 0 or math.isnan(number):
        raise LeftOutError(f"with 0 {kind} tokens")
    if not 0 < number <= MAX_TOKENS or number != int(number):
        expected = f"a whole number from 0 to {MAX_TOKENS:,}"
        raise FileError(row.where, f"{field}: found {shown(row.fields[field])}", expected)
    return int(number)


def _blocks(row: Row, field: str) -> tuple[int, ...]:
    """Return a list of block ids, which may be written as JSON text; empty if there is none."""
    value = row.fields.get(field)
    if _is_blank(value):
        return ()
    ids = parse_json(value, row.where) if isinstance(value, str) else value
    if not isinstance(ids, list) or not all(isinstance(one, int) for one in ids):
        raise FileError(row.where, f"{field}: found {shown(value)}", "a list of whole numbers")
    return tuple(ids)
