"""Join a wall meter's readings to the runs they cover, by wall-clock time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmbench.analysis.meters.log import ENERGY
from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.stats import Floats
from llmbench.errors import InputError, Unavailable
from llmbench.runs import store
from llmbench.runs.imports.measured import as_moment
from llmbench.runs.run import CLOCK_ORIGIN, Run
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series

MOST_INTERVALS = 3.0  # in median intervals of the log: one lost reading is accepted, two are not
SHORT_GAP_SECONDS = 1.0  # seconds; accepted even from a fast logger, for busy machines
MOST_SHOWN = 5
CLOCKS = "does the meter's clock need a correction (--offset) or a time zone (--utc-offset)?"


@dataclass(frozen=True, slots=True)
class Joined:
    """The runs that received readings, and the other runs with the reason why not."""

    runs: tuple[str, ...]
    left_out: dict[str, str]


def join(
    run_set: RunSet, log: Path, readings: Sequence[Series], max_gap: float | None = None
) -> Joined:
    """Attach readings, with Unix times, to each stored run that they cover.

    A run is covered if readings at most ``max_gap`` seconds apart (default: three median intervals
    of the log, at least a second) span its first due time to its last token. Energy counts from a
    run's first reading. Raise InputError if no run is covered.
    """
    measured = [run for run in run_set.runs if not run.failure]
    left_out: dict[str, str] = {}
    fitting: list[tuple[Run, list[Series]]] = []
    for run in measured:
        try:
            fitting.append((run, [_of_run(series, run, max_gap) for series in readings]))
        except Unavailable as reason:
            left_out[run.name] = str(reason)
    if not fitting:
        raise InputError(_none_fits(run_set, log, left_out))
    for run, series in fitting:
        store.attach(run_set.folder, run, series)
    return Joined(tuple(run.name for run, _ in fitting), left_out)


def _none_fits(run_set: RunSet, log: Path, left_out: dict[str, str]) -> str:
    if not left_out:
        return f"{run_set.folder}: no run was measured"
    shown = [f"{name}: {reason}" for name, reason in list(left_out.items())[:MOST_SHOWN]]
    more = len(left_out) - len(shown)
    lines = [f"{log}: covers no run of {run_set.folder}", *shown]
    return "\n  ".join([*lines, f"and {more} more"] if more else lines)


def _of_run(series: Series, run: Run, max_gap: float | None) -> Series:
    """Return the readings that cover a run, with times on the run's clock, or raise Unavailable."""
    origin, span = _origin(run), RecordArrays(run.records).makespan
    if span is None:
        raise Unavailable("no tokens were generated, so the run has no time span")
    kept = _around(series, origin + span[0], origin + span[1])
    _check_gaps(kept, _default_max_gap(series) if max_gap is None else max_gap)
    values = _since_the_first(kept.values) if series.name == ENERGY else kept.values
    return replace(kept.since(origin), values=values)


def _origin(run: Run) -> float:
    """Return the Unix time of a run's clock zero."""
    if CLOCK_ORIGIN not in run.facts:
        raise Unavailable(
            "its clock's origin is unknown, since an older llmbench or another tool measured it; "
            "measure it again"
        )
    origin: float | None = run.facts[CLOCK_ORIGIN]
    if origin is None:
        raise Unavailable("its time was simulated; set `clock: real` on the backend `fake`")
    return origin


def _around(series: Series, begin: float, end: float) -> Series:
    """Return the readings within a span of Unix times, and the nearest one on either side."""
    times = series.times
    first = bisect_right(times, begin) - 1
    last = bisect_left(times, end, max(first, 0))
    if first < 0 or last == len(times):
        readings = _from_to(times[0], times[-1]) if len(times) else "none"
        raise Unavailable(f"ran {_from_to(begin, end)}, and the readings are {readings}; {CLOCKS}")
    inside = slice(first, last + 1)
    return replace(series, times=times[inside], values=series.values[inside])


def _from_to(begin: float, end: float) -> str:
    return f"from {as_moment(begin)} to {as_moment(end)}"


def _default_max_gap(series: Series) -> float:
    """Return the default maximum gap between successive readings, in seconds."""
    return max(SHORT_GAP_SECONDS, MOST_INTERVALS * float(np.median(np.diff(series.times))))


def _check_gaps(kept: Series, most: float) -> None:
    gaps = np.diff(kept.times)
    for index in np.flatnonzero(gaps > most)[:1]:
        raise Unavailable(
            f"has no reading for {gaps[index]:.3g} s after {as_moment(kept.times[index])}; gaps of "
            f"at most {most:.3g} s are accepted (--max-gap)"
        )


def _since_the_first(total: Floats) -> Floats:
    for index in np.flatnonzero(np.diff(total) < 0)[:1]:
        before, after = total[index : index + 2]
        raise Unavailable(
            f"the meter's energy drops from {before:.6g} J to {after:.6g} J during the run; was "
            "the meter reset?"
        )
    return np.asarray(total - total[0])
