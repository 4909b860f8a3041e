"""A value with its sample size, or the reason why it is unavailable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np

from llmbench.analysis.stats import (
    MIN_PROCESSES,
    MIN_PROCESSES_95,
    Floats,
    geometric_interval,
    geometric_mean,
    share_interval,
    t_interval,
)
from llmbench.runs.series import Series

# what values a metric can have; it decides how processes are summarized (docs/metrics.md)
Scale = Literal["positive", "nonnegative", "signed", "share", "count"]

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
    """A metric over the processes of a case, with an interval from 3 processes on.

    ``values`` has one value per process. ``reason`` explains a missing value or interval.
    """

    low: float | None = None
    high: float | None = None
    values: tuple[float, ...] = ()

    @property
    def interval_name(self) -> str:
        """What the interval may be called, by the coverage that its number of processes gives."""
        return "95 % interval" if self.n >= MIN_PROCESSES_95 else "t interval"


def unavailable(keys: Iterable[str], reason: str) -> dict[str, Value]:
    """Return several metrics that are unavailable for the same reason."""
    return dict.fromkeys(keys, Value.unavailable(reason))


# -- over processes --------------------------------------------------------------------------------


class Rule(NamedTuple):
    """How the values of several processes, each with its sample size, become a figure.

    ``interval`` needs at least three processes.
    """

    figure: Callable[[Floats, Floats], float]
    interval: Callable[[Floats, Floats], tuple[Floats, Floats]]


def _mean(values: Floats, _: Floats) -> float:
    return float(values[0] + (values - values[0]).mean())  # exact for equal values


def _share(values: Floats, sizes: Floats) -> float:
    return float((values * sizes).sum() / sizes.sum())


def _count_interval(values: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    low, high = share_interval(values, sizes)
    return low * sizes.mean(), high * sizes.mean()


def _nonnegative_interval(values: Floats, _: Floats) -> tuple[Floats, Floats]:
    low, high = t_interval(values)
    return np.maximum(low, 0.0), high


RULES: dict[Scale, Rule] = {
    "positive": Rule(lambda v, _: float(geometric_mean(v)), lambda v, _: geometric_interval(v)),
    "nonnegative": Rule(_mean, _nonnegative_interval),
    "signed": Rule(_mean, lambda v, _: t_interval(v)),
    "share": Rule(_share, lambda v, n: share_interval(v * n, n)),
    "count": Rule(_mean, _count_interval),
}


def estimate(values: Sequence[Value], scale: Scale = "positive") -> Estimate:
    """Estimate a metric from its value in each process, by the rule of its scale.

    The plain mean replaces a geometric mean if a process has 0, and a share whose sample size is
    unknown.
    """
    known = [value for value in values if value.value is not None]
    if not known:
        reason = next((value.reason for value in values if value.reason), None)
        return Estimate.unavailable(reason or "no run of this case finished")
    numbers = np.array([value.value for value in known], dtype=np.float64)
    sizes = np.array([value.n for value in known], dtype=np.float64)
    rule = RULES["nonnegative" if _unsuited(scale, numbers, sizes) else scale]
    figure, n, each = rule.figure(numbers, sizes), len(known), tuple(numbers.tolist())
    if n < MIN_PROCESSES:
        few = f"an interval needs {MIN_PROCESSES} processes, got {n}"
        return Estimate(figure, n, few, values=each)
    low, high = rule.interval(numbers, sizes)
    return Estimate(figure, n, None, float(low), float(high), each)


def _unsuited(scale: Scale, numbers: Floats, sizes: Floats) -> bool:
    if scale == "positive":
        return bool((numbers <= 0).any())
    return scale in ("share", "count") and bool((sizes < 1).any())


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
