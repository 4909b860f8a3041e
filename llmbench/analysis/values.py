"""A value with its sample size, or the reason why it is unavailable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from llmbench.analysis.stats import MIN_PROCESSES, bootstrap_difference, bootstrap_interval
from llmbench.runs.series import Series

NO_WINDOW = "no steady window: the measured requests were all due at the same moment"


@dataclass(frozen=True, slots=True)
class Value:
    """A metric's value with its sample size ``n``, or None with the reason."""

    value: float | None
    n: int = 0
    reason: str | None = None

    @classmethod
    def unavailable(cls, reason: str) -> Self:
        """Return an unavailable value with its reason."""
        return cls(None, 0, reason)


@dataclass(frozen=True, slots=True)
class Estimate(Value):
    """A metric over the processes of a case: their mean, and from 3 processes its 95 % interval.

    ``values`` has one value per process. ``reason`` explains a missing value or interval.
    """

    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()


def unavailable(keys: Iterable[str], reason: str) -> dict[str, Value]:
    """Return several metrics that are unavailable for the same reason."""
    return dict.fromkeys(keys, Value.unavailable(reason))


# -- over processes --------------------------------------------------------------------------------


def estimate(values: Sequence[float | None], reason: str | None = None) -> Estimate:
    """Estimate a metric from one value per process; None: not measured in that process.

    x̄ = Σ xᵢ / n, where xᵢ is the value of process i and n the number of processes with a value.
    The interval is that of stats.bootstrap_interval.
    """
    known = tuple(value for value in values if value is not None)
    if not known:
        return Estimate.unavailable(reason or "no run of this case finished")
    mean, n = float(np.mean(known)), len(known)
    if n < MIN_PROCESSES:
        few = f"an interval needs {MIN_PROCESSES} processes, got {n}"
        return Estimate(mean, n, few, values=known)
    low, high = bootstrap_interval(known)
    return Estimate(mean, n, None, low, high, known)


def difference(baseline: Sequence[float], candidate: Sequence[float]) -> Estimate:
    """Estimate the candidate's mean minus the baseline's, from one value per process.

    Unavailable below three processes per side, since a difference without an interval is
    meaningless.
    """
    fewest = min(len(baseline), len(candidate))
    if fewest < MIN_PROCESSES:
        return Estimate.unavailable(
            f"a difference needs {MIN_PROCESSES} processes of each case, got {fewest}"
        )
    differences = np.asarray(candidate) - np.mean(baseline)
    low, high = bootstrap_difference(baseline, candidate)
    mean = float(np.mean(candidate) - np.mean(baseline))
    return Estimate(mean, len(differences), None, low, high, tuple(differences.tolist()))


# -- of a series -----------------------------------------------------------------------------------


def series_mean(series: Series, window: tuple[float, float] | None) -> Value:
    """Return the mean of a series' readings in a window, or of all; they are evenly spaced."""
    if not series.available:
        return Value(None, 0, series.why_unavailable)
    times, values = series.times, series.values
    inside = values[(times >= window[0]) & (times < window[1])] if window else values
    if not len(inside):
        return Value.unavailable("no reading lies in the steady window")
    return Value(float(np.mean(inside)), len(inside))


def series_rise(series: Series, window: tuple[float, float] | None) -> Value:
    """Return a running total's increase over a window (None: all), interpolated at its ends."""
    if not series.available:
        return Value(None, 0, series.why_unavailable)
    times, values = series.times, series.values
    begin, end = window or (times[0], times[-1])
    if not times[0] <= begin <= end <= times[-1]:
        return Value.unavailable("the readings do not cover the steady window")
    before, after = np.interp((begin, end), times, values)
    return Value(float(after - before), int(((times >= begin) & (times < end)).sum()))
