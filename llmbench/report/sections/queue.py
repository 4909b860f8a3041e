"""How many requests of a run waited and how many were in progress, over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from llmbench.runs.series import Series

UNIT = "requests"
NAMES = ("requests_waiting", "requests_in_progress")

Stay = tuple[float, float, float]


def waiting_and_in_progress(records: pa.Table) -> tuple[Series, Series]:
    """Return the number of waiting requests and of those in progress, a reading per change.

    A request waits from its due time until the backend starts it or, if that is not reported,
    until its first token; it is in progress from then until its last token. A request without
    tokens stays until its last recorded time, one that is unfinished until the end of the run.
    """
    stays = np.array(list(_stays(records)), float).reshape(-1, 3)
    return _count(NAMES[0], stays[:, 0], stays[:, 1]), _count(NAMES[1], stays[:, 1], stays[:, 2])


def is_count(series: Series) -> bool:
    """Return whether a series is a count that holds until its next reading."""
    return series.name in NAMES


def mean_over_time(series: Series) -> float:
    """Return the mean of a count, weighted by how long each value held."""
    seconds = np.diff(series.times)
    if not seconds.sum():
        return float(series.values.mean())
    return float(np.average(series.values[:-1], weights=seconds))


def _stays(records: pa.Table) -> Iterator[Stay]:
    """Yield when each request was due, left the queue and ended."""
    rows = records.select(["due", "started", "token_times", "finish"]).to_pylist()
    known = [_known_times(row) for row in rows]
    last = max((times[-1] for times in known), default=0.0)
    for row, (due, *later) in zip(rows, known, strict=True):
        end = last if row["finish"] == "unfinished" else max((due, *later))
        yield due, later[0] if later else end, end


def _known_times(row: dict[str, Any]) -> list[float]:
    """Return a request's due time, when it left the queue and its token times, as far as known."""
    times = [row["due"], row["started"], *row["token_times"]]
    return [time for time in times if time is not None and not np.isnan(time)]


def _count(name: str, begins: ArrayLike, ends: ArrayLike) -> Series:
    times = np.union1d(begins, ends)
    before, after = (np.searchsorted(np.sort(of), times, "right") for of in (begins, ends))
    return Series.measured(name, UNIT, times, before - after)
