"""How many requests of a run waited and how many were in progress, over time."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmbench.runs.series import Floats, Series

UNIT = "requests"
NAMES = ("requests_waiting", "requests_in_progress")


def waiting_and_in_progress(records: pa.Table) -> tuple[Series, Series]:
    """Return the number of waiting requests and of those in progress, a reading per change.

    A request waits from its due time until the backend starts it or, if that is not reported,
    until its first token; it is in progress from then until its last token. A request without
    tokens stays until its last recorded time, one that is unfinished until the end of the run, and
    one that is abandoned until its user gives up.
    """
    due, started, given_up = (
        records[name].cast(pa.float64()).to_numpy() for name in ("due", "started", "abandoned_at")
    )
    first, last = _ends_of_tokens(records["token_times"])
    known = np.fmax(np.fmax(due, started), last)
    unfinished = pc.equal(records["finish"], "unfinished").to_numpy()
    end = _first_known(given_up, np.where(unfinished, known.max(initial=0.0), known))
    left = _first_known(started, first, end)
    return _count(NAMES[0], due, left), _count(NAMES[1], left, end)


def is_count(series: Series) -> bool:
    """Return whether a series is a count that holds until its next reading."""
    return series.name in NAMES


def mean_over_time(series: Series) -> float:
    """Return the mean of a count, weighted by how long each value held."""
    seconds = np.diff(series.times)
    if not seconds.sum():
        return float(series.values.mean())
    return float(np.average(series.values[:-1], weights=seconds))


def _ends_of_tokens(token_times: pa.ChunkedArray) -> tuple[Floats, Floats]:
    """Return the first and the last known token time of each request; NaN without any."""
    number = len(token_times)
    rows = np.repeat(np.arange(number), pc.list_value_length(token_times).to_numpy())
    times = pc.list_flatten(token_times).to_numpy()
    is_known = ~np.isnan(times)
    rows, times = rows[is_known], times[is_known]
    first, last = np.full((2, number), np.nan)
    first[rows[::-1]] = times[::-1]  # the last assignment to a row counts
    last[rows] = times
    return first, last


def _first_known(*times: Floats) -> Floats:
    """Return the first of these times that is known, for each request."""
    return reduce(lambda known, other: np.where(np.isnan(known), other, known), times)


def _count(name: str, begins: Floats, ends: Floats) -> Series:
    times = np.union1d(begins, ends)
    before, after = (np.searchsorted(np.sort(of), times, "right") for of in (begins, ends))
    return Series.measured(name, UNIT, times, before - after)
