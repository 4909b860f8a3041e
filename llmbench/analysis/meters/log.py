"""Logs of wall meters, smart plugs and power distribution units: CSV files of timed readings."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmbench.analysis.meters import ENERGY_UNITS, Layout
from llmbench.errors import InputError
from llmbench.runs.series import Series

POWER = "wall_power_watts"
ENERGY = "wall_energy_joules"
NO_READING = ("", "nan", "null", "none", "unavailable", "unknown")  # what loggers write for none
MOST_SECONDS = 1e11  # the year 5138; of milliseconds, the year 1973
ZONED = r"[T ].*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$"  # a time of day, and a zone at its end

Floats = NDArray[np.float64]


def read(path: Path, layout: Layout) -> tuple[Series, ...]:
    """Read a log: power in W, a running total in J, or both, with times in seconds since 1970.

    Moments without a value are left out of a series. Raises InputError when the file cannot be
    read, a column is missing, a cell is neither a value nor empty, or times go back.
    """
    table = _table(path.expanduser())
    times = _times(path, _column(path, table, layout.time, "--time-column"), layout)
    found = []
    if layout.watts:
        column = _column(path, table, layout.watts, "--watts-column")
        found.append(_series(POWER, "W", times, _values(path, column)))
    if layout.energy:
        column = _column(path, table, layout.energy, "--energy-column")
        joules = _values(path, column) * ENERGY_UNITS[layout.energy_unit]
        found.append(_series(ENERGY, "J", times, joules))
    return tuple(found)


def _series(name: str, unit: str, times: Floats, values: Floats) -> Series:
    known = ~np.isnan(values)
    return Series.measured(name, unit, times[known], values[known])


# -- cells -----------------------------------------------------------------------------------------


def _table(path: Path) -> pd.DataFrame:
    try:
        # without a header: with one, pandas shifts lines that are longer than it
        rows = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except (UnicodeDecodeError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path}: cannot be read as CSV: {str(error).strip()}") from None
    if len(rows) == 1:
        raise InputError(f"{path}: holds no readings; expected a line of names and lines of values")
    texts = {place: rows[place].fillna("").str.strip() for place in rows}
    table = pd.DataFrame({place: text[1:] for place, text in texts.items()})
    table.columns = pd.Index([text[0] for text in texts.values()])
    return table


def _column(path: Path, table: pd.DataFrame, name: str, option: str) -> pd.Series[Any]:
    if name not in table.columns:
        folded = {column.casefold(): column for column in table.columns}
        near = get_close_matches(name.casefold(), folded, n=1)
        hint = f"did you mean {folded[near[0]]!r}? " if near else ""
        raise InputError(
            f"{path}: has no column {name!r}; {hint}it has {', '.join(table.columns)}; "
            f"name it with {option}"
        )
    if list(table.columns).count(name) > 1:
        raise InputError(f"{path}: has several columns {name!r}; give each a name of its own")
    return table[name]


def _values(path: Path, column: pd.Series[Any]) -> Floats:
    """Read numbers; NaN where a cell says that there was no reading."""
    none = column.str.casefold().isin(NO_READING)
    numbers = _numbers(column)
    _refuse(path, column, ~none & ~np.isfinite(numbers), "is no number")
    return np.where(none, np.nan, numbers)


def _numbers(column: pd.Series[Any]) -> Floats:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)


def _refuse(path: Path, column: pd.Series[Any], wrong: Any, why: str) -> None:
    """Raise InputError that names the first cell that is wrong, where there is one."""
    places = np.flatnonzero(wrong)
    if len(places):
        text = column.iloc[places[0]]
        raise InputError(f"{path}: reading {places[0] + 1}: {column.name}: {text!r} {why}")


# -- times -----------------------------------------------------------------------------------------


def _times(path: Path, column: pd.Series[Any], layout: Layout) -> Floats:
    """Read times as seconds since 1970, which may not go back."""
    numbers = _numbers(column)
    how = layout.time_format
    if how == "auto":
        how = "unix" if np.isfinite(numbers[0]) else "iso"
    if how == "iso":
        times = _from_iso(path, column, layout.utc_offset)
    else:
        times = _from_unix(path, column, numbers / 1e3 if how == "unix-ms" else numbers)
    goes_back = np.diff(times, prepend=times[0]) < 0
    _refuse(path, column, goes_back, "is earlier than the reading before it; sort the log by time")
    return times + layout.offset_seconds


def _from_unix(path: Path, column: pd.Series[Any], seconds: Floats) -> Floats:
    possible = (seconds >= 0) & (seconds < MOST_SECONDS)
    why = "is no time in seconds since 1970; for milliseconds give --time-format unix-ms"
    _refuse(path, column, ~possible, why)
    return seconds


def _from_iso(path: Path, column: pd.Series[Any], utc_offset: str | None) -> Floats:
    zoned = column.str.contains(ZONED, regex=True)
    if utc_offset is None:
        why = "names no time zone; give that of the log, for example --utc-offset +00:00"
        _refuse(path, column, ~zoned & _is_time(column), why)
    moments = _moments(column.where(zoned, column + (utc_offset or "")))
    why = "is no ISO 8601 time such as 2026-01-31T12:00:00Z; see --time-format"
    _refuse(path, column, moments.isna(), why)
    since = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(since, dtype=np.float64)


def _is_time(column: pd.Series[Any]) -> NDArray[np.bool_]:
    return _moments(column).notna().to_numpy(dtype=np.bool_)


def _moments(column: pd.Series[Any]) -> pd.Series[pd.Timestamp]:
    return pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
