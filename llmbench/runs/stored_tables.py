"""Stored Parquet tables: read whole or not at all, with their columns and values checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmbench.errors import FileError
from llmbench.runs.old_schemas import COLUMNS
from llmbench.runs.record import SUCCEEDED, Finish
from llmbench.runs.request import Phase
from llmbench.runs.run import QUALITY_SCHEMA, RECORD_SCHEMA
from llmbench.runs.tables import UNREADABLE, read_parquet

LONGEST_SECONDS = 1e9  # from the begin of a load, in either direction
MOST_TOKENS = 2**31
LARGEST_LOSS = 1e12  # nats, or squared logits
REMEDY = "measure the run again with `llmbench run --resume`"

SERIES_SCHEMA = pa.schema([("name", pa.string()), ("time", pa.float64()), ("value", pa.float64())])
# columns of version 0.1.0 that are never null, and columns of any version
KNOWN = (
    "request_id", "phase", "due", "token_times", "token_counts", "output_tokens", "finish",
)  # fmt: skip
NEEDED = (*KNOWN, "sent", "started", "prompt_tokens", "max_new_tokens")
SECONDS = (
    "due", "sent", "started", "tokenize_seconds", "connect_seconds", "first_content",
    "first_stamp_lag", "last_stamp_lag", "server_queue_seconds", "server_ttft_seconds",
    "server_prefill_seconds", "server_decode_seconds", "abandoned_at",
    "delay_seconds",
)  # fmt: skip
COUNTS = (
    "output_tokens", "prompt_tokens", "max_new_tokens", "cached_tokens", "reasoning_tokens",
    "drafted_tokens", "accepted_tokens", "retries", "turn",
    "job_requests",
)  # fmt: skip


def read_records(path: Path) -> pa.Table:
    """Read the table of records with the current columns: renamed ones, and null for new ones.

    Raises FileError, with the file and the column, if it is not a table of records.
    """
    return _read(path, RECORD_SCHEMA, NEEDED, _check_records)


def read_quality(path: Path) -> pa.Table:
    """Read the table of scored tokens; raises FileError as `read_records` does."""
    return _read(path, QUALITY_SCHEMA, QUALITY_SCHEMA.names, _check_quality)


def read_readings(path: Path) -> pa.Table:
    """Read the readings of all series; raises FileError as `read_records` does."""
    return _read(path, SERIES_SCHEMA, SERIES_SCHEMA.names, _check_readings)


def _read(
    path: Path, schema: pa.Schema, needed: Sequence[str], check: Callable[[pa.Table], None]
) -> pa.Table:
    whole = read_parquet(path, REMEDY)
    try:
        table = _with_schema(whole, schema, needed)
        if table.num_rows:
            check(table)
    except UNREADABLE as error:
        raise FileError(path, f"cannot be read as Parquet: {error}", remedy=REMEDY) from None
    return table


def _with_schema(table: pa.Table, schema: pa.Schema, needed: Sequence[str]) -> pa.Table:
    """Return the columns of a schema, converted to its types.

    Columns that are not needed may be missing: they are null, and after the others.
    """
    metadata = table.schema.metadata
    table = table.rename_columns([COLUMNS.get(name, name) for name in table.column_names])
    names = table.column_names
    counts = {name: names.count(name) for name in schema.names}
    wrong = [name for name, count in counts.items() if count > 1 or count < (name in needed)]
    if wrong:
        raise ValueError(f"column {wrong[0]!r} is missing or occurs several times")
    present = [field for field in schema if counts[field.name]]
    absent = [field for field in schema if not counts[field.name]]
    columns = [
        *(table[field.name].cast(field.type) for field in present),
        *(pa.nulls(table.num_rows, field.type) for field in absent),
    ]
    return pa.table(columns, schema=pa.schema([*present, *absent], metadata))


# -- values ----------------------------------------------------------------------------------------


def _check_records(table: pa.Table) -> None:
    for name in KNOWN:
        _check_known(table, name)
    for name, values in (("phase", get_args(Phase)), ("finish", get_args(Finish))):
        if not pc.all(pc.is_in(table[name], pa.array(values))).as_py():
            raise ValueError(f"column {name!r} has other values than {', '.join(values)}")
    for name in SECONDS:
        _check_range(name, table[name], -LONGEST_SECONDS, LONGEST_SECONDS)
    for name in COUNTS:
        _check_range(name, table[name], 0, MOST_TOKENS)
    _check_tokens(table)


def _check_tokens(table: pa.Table) -> None:
    """Check times and counts of the tokens, which have one entry per chunk of a response."""
    times, counts = table["token_times"], table["token_counts"]
    known = pc.list_flatten(times)
    if known.null_count:
        raise ValueError("column 'token_times' has times that are null")
    finite = known.filter(pc.is_finite(known))  # NaN: unknown
    _check_range("token_times", finite, -LONGEST_SECONDS, LONGEST_SECONDS)
    if pc.any(pc.is_inf(known)).as_py():
        raise ValueError("column 'token_times' has infinite times")
    _check_range("token_counts", pc.list_flatten(counts), 0, MOST_TOKENS)
    chunks = pc.list_value_length(times)
    if not chunks.equals(pc.list_value_length(counts)):
        raise ValueError("columns 'token_times' and 'token_counts' differ in length")
    if pc.any(pc.and_(pc.is_in(table["finish"], pa.array(SUCCEEDED)), pc.equal(chunks, 0))).as_py():
        raise ValueError("column 'token_times' is empty for a request that succeeded")
    ends = np.cumsum(chunks.to_numpy())
    totals = np.r_[0, np.cumsum(pc.list_flatten(counts).to_numpy())][np.r_[0, ends]]
    if not np.array_equal(np.diff(totals), table["output_tokens"].to_numpy()):
        raise ValueError("column 'output_tokens' is not the sum of 'token_counts'")


def _check_quality(table: pa.Table) -> None:
    for name in QUALITY_SCHEMA.names:
        _check_known(table, name)
        if pa.types.is_floating(table[name].type):
            _check_range(name, table[name], -LARGEST_LOSS, LARGEST_LOSS)


def _check_readings(table: pa.Table) -> None:
    for name in SERIES_SCHEMA.names:
        _check_known(table, name)
    _check_range("time", table["time"], -LONGEST_SECONDS, LONGEST_SECONDS)
    _check_range("value", table["value"], -(2.0**64), 2.0**64)


def _check_known(table: pa.Table, name: str) -> None:
    if table[name].null_count:
        raise ValueError(f"column {name!r} has {table[name].null_count} values that are null")


def _check_range(name: str, column: pa.ChunkedArray, least: float, most: float) -> None:
    """Raise ValueError if a known value is not a number from ``least`` to ``most``."""
    if column.null_count == len(column):
        return
    inside = pc.and_(pc.greater_equal(column, least), pc.less_equal(column, most))
    if not pc.all(inside).as_py():
        raise ValueError(f"column {name!r} has values that are not from {least:g} to {most:g}")
