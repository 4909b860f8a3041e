"""Request traces of production services, read into a common form.

Azure (2023, 2024): https://github.com/Azure/AzurePublicDataset; Mooncake:
https://github.com/kvcache-ai/Mooncake; BurstGPT: https://github.com/HPMLL/BurstGPT; and llmbench's
own format, which is also that of a run's stored schedule.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from llmbench.errors import InputError
from llmbench.runs.files import read_text

Format = Literal["auto", "azure", "mooncake", "burstgpt", "llmbench"]
MAX_SHOWN = 5
SCHEDULE = ".parquet"


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


class _Line(BaseModel):
    """Base class of a trace file's line in one format, with the lengths in tokens."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    prompt_tokens: PositiveInt
    output_tokens: NonNegativeInt

    def row(self, time: float, blocks: tuple[int, ...] = ()) -> TraceRow:
        return TraceRow(time, self.prompt_tokens, self.output_tokens, blocks)


class _Azure(_Line):
    moment: datetime = Field(alias="TIMESTAMP")
    prompt_tokens: PositiveInt = Field(alias="ContextTokens")
    output_tokens: NonNegativeInt = Field(alias="GeneratedTokens")

    def read(self) -> TraceRow:
        moment = self.moment if self.moment.tzinfo else self.moment.replace(tzinfo=UTC)
        return self.row(moment.timestamp())


class _Mooncake(_Line):
    milliseconds: float = Field(alias="timestamp", ge=0)
    prompt_tokens: PositiveInt = Field(alias="input_length")
    output_tokens: NonNegativeInt = Field(alias="output_length")
    hash_ids: tuple[int, ...] = ()

    def read(self) -> TraceRow:
        return self.row(self.milliseconds / 1000, self.hash_ids)


class _BurstGpt(_Line):
    seconds: float = Field(alias="Timestamp", ge=0)
    prompt_tokens: PositiveInt = Field(alias="Request tokens")
    output_tokens: NonNegativeInt = Field(alias="Response tokens")

    def read(self) -> TraceRow:
        return self.row(self.seconds)


class _Own(_Line):
    model_config = ConfigDict(extra="forbid")

    time: float = Field(ge=0)
    blocks: tuple[int, ...] = ()
    request_class: str | None = None

    def read(self) -> TraceRow:
        return replace(self.row(self.time, self.blocks), request_class=self.request_class)


FORMATS: dict[str, type[Any]] = {
    "azure": _Azure,
    "mooncake": _Mooncake,
    "burstgpt": _BurstGpt,
    "llmbench": _Own,
}


def read_trace(path: Path, format: Format = "auto") -> list[TraceRow]:  # noqa: A002 (what the key is called)
    """Return the rows of a trace, ordered by time, without requests of 0 output tokens.

    Raise InputError when the file cannot be read, has an unknown format, is empty, or has
    malformed lines, which are listed by number.
    """
    lines = _lines(path)
    shape = FORMATS[_recognized(path, lines) if format == "auto" else format]
    rows = [row for row in _rows(path, lines, shape) if row.output_tokens]
    if not rows:
        raise InputError(f"{path}: expected requests with output tokens, found none")
    rows.sort(key=lambda row: row.time)
    # schedule times count from the start of the load, those of other traces from the first request
    origin = 0.0 if path.suffix == SCHEDULE else rows[0].time
    return [replace(row, time=row.time - origin) for row in rows]


def _lines(path: Path) -> list[tuple[int, dict[str, Any] | str]]:
    """Return the nonempty lines with their numbers; invalid JSON stays text."""
    if path.suffix == SCHEDULE:
        return list(enumerate(_parquet(path.expanduser()), start=1))
    text = read_text(path)
    if text.lstrip().startswith("{"):
        numbered = enumerate(text.splitlines(), start=1)
        return [(number, _json(line)) for number, line in numbered if line.strip()]
    reader = csv.DictReader(text.splitlines())
    return [(reader.line_num, {k: v for k, v in row.items() if k is not None}) for row in reader]


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {error}; check the path") from None
    return rows


def _json(line: str) -> dict[str, Any] | str:
    try:
        value = json.loads(line)
    except ValueError:
        return line
    return value if isinstance(value, dict) else line


def _recognized(path: Path, lines: list[tuple[int, dict[str, Any] | str]]) -> str:
    """Return the name of the trace format whose required fields the first line has."""
    fields = set(lines[0][1]) if lines and isinstance(lines[0][1], dict) else set()
    for name, shape in FORMATS.items():
        needed = {f.alias or n for n, f in shape.model_fields.items() if f.is_required()}
        if needed <= fields:
            return name
    raise InputError(
        f"{path}: unknown trace format (fields: {', '.join(sorted(fields)) or 'none'}); "
        f"known: {', '.join(FORMATS)}; see docs/scenarios.md"
    )


def _rows(
    path: Path, lines: Iterable[tuple[int, dict[str, Any] | str]], shape: type[Any]
) -> Iterator[TraceRow]:
    malformed: list[str] = []
    for number, line in lines:
        try:
            yield shape.model_validate(line).read()
        except ValidationError as error:
            malformed.append(f"{path}:{number}: {_explained(error, line)}")
    if malformed:
        more = f"\nand {len(malformed) - MAX_SHOWN} more" if len(malformed) > MAX_SHOWN else ""
        raise InputError("\n".join(malformed[:MAX_SHOWN]) + more)


def _explained(error: ValidationError, line: dict[str, Any] | str) -> str:
    if isinstance(line, str):
        return f"not a JSON object: {line[:80]!r}"
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}, found {first['input']!r}"
