"""What a watched series amounts to in a window."""

from __future__ import annotations

import numpy as np

from llmbench.analysis.metrics.named import Value
from llmbench.analysis.metrics.observed import within
from llmbench.runs.record import Series


def series_mean(series: Series, window: tuple[float, float] | None) -> Value:
    """Average a series over a window (equal weights: samplers tick at a steady pace)."""
    if not series.available:
        return Value(None, 0, series.why_unavailable)
    times, values = np.asarray(series.times), np.asarray(series.values)
    inside = values[within(times, *window)] if window else values
    if not len(inside):
        return Value(None, 0, "no reading lies in the steady window")
    return Value(float(np.mean(inside)), len(inside))


def series_rise(series: Series, window: tuple[float, float] | None) -> Value:
    """Give what a running total rose by in a window, in a straight line between readings."""
    if not series.available:
        return Value(None, 0, series.why_unavailable)
    times, values = np.asarray(series.times), np.asarray(series.values)
    begin, end = window or (times[0], times[-1])
    if not times[0] <= begin <= end <= times[-1]:
        return Value(None, 0, "its readings do not cover the steady window")
    before, after = np.interp((begin, end), times, values)
    return Value(float(after - before), int(within(times, begin, end).sum()))
