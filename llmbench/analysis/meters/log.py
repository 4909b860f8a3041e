"""Read CSV logs of wall meters, smart plugs and power distribution units."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmbench.analysis.meters import ENERGY_UNITS, Layout
from llmbench.analysis.stats import Floats
from llmbench.errors import FileError, printable, shown
from llmbench.runs.files import read_text
from llmbench.runs.series import Series
from llmbench.runs.tables import MAX_NAMES, parse_csv

POWER = "wall_power_watts"
ENERGY = "wall_energy_joules"
NO_READING = ("", "nan", "null", "none", "unavailable", "unknown")  # as written by loggers
MOST_SECONDS = 1e11  # the year 5138; in milliseconds, 1973
ZONED = r"[T ].*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"  # a time of day with a zone


def read_log(path: Path, layout: Layout) -> tuple[Series, ...]:
    """Return a log's series by Unix time: power in W, cumulative energy in J, or both.

    Readings without a value are skipped. Raise FileError if the file cannot be read, a column is
    missing, a cell is neither a number nor empty, or times decrease.
    """
    table = _table(path)
    times = _times(path, _column(path, table, layout.time, "--time-column"), layout)
    series = []
    if layout.watts:
        column = _column(path, table, layout.watts, "--watts-column")
        series.append(_series(POWER, "W", times, _values(path, column)))
    if layout.energy:
        column = _column(path, table, layout.energy, "--energy-column")
        joules = _values(path, column) * ENERGY_UNITS[layout.energy_unit]
        series.append(_series(ENERGY, "J", times, joules))
    return tuple(series)


def _series(name: str, unit: str, times: Floats, values: Floats) -> Series:
    known = ~np.isnan(values)
    return Series.measured(name, unit, times[known], values[known])


# -- cells -----------------------------------------------------------------------------------------


def _table(path: Path) -> pd.DataFrame:
    """Return the readings as texts, indexed by their lines; columns may have equal names."""
    cells = parse_csv(read_text(path), path)
    if not cells.lines:
        raise FileError(path, "no readings", "a header and lines of values")
    width = len(cells.header)
    rows = [[*(cell.strip() for cell in row), *[""] * (width - len(row))] for _, row in cells.lines]
    return pd.DataFrame(rows, index=[line for line, _ in cells.lines], columns=cells.header)


def _column(path: Path, table: pd.DataFrame, name: str, option: str) -> pd.Series[Any]:
    if name not in table.columns:
        folded = {column.casefold(): column for column in table.columns}
        near = get_close_matches(name.casefold(), folded, n=1)
        hint = f"did you mean {shown(folded[near[0]])}? " if near else ""
        columns = printable(", ".join(table.columns), MAX_NAMES)
        raise FileError(
            path,
            f"no column {name!r}",
            remedy=f"{hint}columns: {columns}; choose one with {option}",
        )
    if list(table.columns).count(name) > 1:
        raise FileError(path, f"several columns are named {name!r}", remedy="rename all but one")
    return table[name]


def _values(path: Path, column: pd.Series[Any]) -> Floats:
    """Return the numbers of a column; NaN for missing readings."""
    missing = column.str.casefold().isin(NO_READING)
    numbers = _numbers(column)
    _raise_for_first(path, column, ~missing & ~np.isfinite(numbers), "is not a number")
    return np.where(missing, np.nan, numbers)


def _numbers(column: pd.Series[Any]) -> Floats:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)


def _raise_for_first(path: Path, column: pd.Series[Any], wrong: Any, reason: str) -> None:
    """Raise FileError for the first invalid cell of a column, if any."""
    indices = np.flatnonzero(wrong)
    if len(indices):
        line, text = column.index[indices[0]], column.iloc[indices[0]]
        raise FileError(f"{path}:{line}", f"{column.name}: {shown(text)} {reason}")


# -- times -----------------------------------------------------------------------------------------


def _times(path: Path, column: pd.Series[Any], layout: Layout) -> Floats:
    """Return a column of times as Unix seconds; raise FileError unless they are ascending."""
    numbers = _numbers(column)
    time_format = layout.time_format
    if time_format == "auto":
        time_format = "unix" if np.isfinite(numbers[0]) else "iso"
    if time_format == "iso":
        times = _from_iso(path, column, layout.utc_offset)
    else:
        times = _from_unix(path, column, numbers / 1e3 if time_format == "unix-ms" else numbers)
    descending = np.diff(times, prepend=times[0]) < 0
    _raise_for_first(
        path, column, descending, "is earlier than the reading before it; sort the log by time"
    )
    return times + layout.offset_seconds


def _from_unix(path: Path, column: pd.Series[Any], seconds: Floats) -> Floats:
    possible = (seconds >= 0) & (seconds < MOST_SECONDS)
    reason = "is not in seconds since 1970; for milliseconds use --time-format unix-ms"
    _raise_for_first(path, column, ~possible, reason)
    return seconds


def _from_iso(path: Path, column: pd.Series[Any], utc_offset: str | None) -> Floats:
    zoned = column.str.contains(ZONED, regex=True)
    if utc_offset is None:
        reason = "has no time zone; specify the zone of the log, for example --utc-offset +00:00"
        _raise_for_first(path, column, ~zoned & _is_time(column), reason)
    moments = _moments(column.where(zoned, column + (utc_offset or "")))
    reason = "is not an ISO 8601 time such as 2026-01-31T12:00:00Z; see --time-format"
    _raise_for_first(path, column, moments.isna(), reason)
    microseconds = moments.dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    seconds = microseconds.astype(np.int64) / 1e6
    _raise_for_first(path, column, seconds < 0, "is before 1970")
    return np.asarray(seconds, dtype=np.float64)


def _is_time(column: pd.Series[Any]) -> NDArray[np.bool_]:
    return _moments(column).notna().to_numpy(dtype=np.bool_)


def _moments(column: pd.Series[Any]) -> pd.Series[pd.Timestamp]:
    return pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
