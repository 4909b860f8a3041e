"""The interactivity front: tokens/s per user against the throughput and the cost of a load.

Each repeat of a sweep of loads has a curve of its own, so that a value between two loads has an
interval over repeats, as a measured one has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmbench.analysis.values import Estimate, Value, estimate

ASKED = (20.0, 50.0, 100.0)  # tokens/s per user, as vendors publish
STEPS = (1, 2, 5)  # of a decade of further values
MOST_ASKED = 8


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """A load: tokens/s per user, and what they are plotted against, of each repeat."""

    load: str
    per_user: Mapping[int, float]
    against: Mapping[int, float]


def per_user(tpot: Value) -> Value:
    """Return the tokens/s that one user sees: 1 / TPOT, where TPOT is the p50 of a run in s.

    Source: NVIDIA and SemiAnalysis InferenceMAX (*interactivity*).
    """
    if tpot.value is None:
        return tpot
    if tpot.value <= 0:
        return Value.unavailable("the TPOT is 0")
    return Value(1 / tpot.value, tpot.n)


def per_device(throughput: Value, count: int) -> Value:
    """Return the output tokens/s per device: R / d, with R output tokens/s of d devices."""
    return Value(throughput.value and throughput.value / count, throughput.n, throughput.reason)


def asked_for(curves: Sequence[Sequence[LoadPoint]]) -> list[float]:
    """Return the tokens/s per user at which values are interpolated.

    These are ASKED, and 1, 2 and 5 times powers of ten within the measured range, at most
    MOST_ASKED together; of more, the highest.
    """
    rates = [rate for curve in curves for point in curve for rate in point.per_user.values()]
    if not rates:
        return list(ASKED)
    low, high = min(rates), max(rates)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (step * 10.0**decade for decade in decades for step in STEPS)
    inside = sorted({step for step in steps if low <= step <= high} - {*ASKED})
    return sorted([*ASKED, *inside[-(MOST_ASKED - len(ASKED)) :]])


def value_at(curve: Sequence[LoadPoint], rate: float) -> Estimate:
    """Return what a curve has at a number of tokens/s per user, over its repeats.

    y = y₁ + (x − x₁) / (x₂ − x₁) · (y₂ − y₁), where x₁ ≤ x ≤ x₂ are the tokens/s per user of the
    nearest two loads of a repeat, and y₁, y₂ their values. The result is the geometric mean of the
    repeats that measured every load, with its t interval. It is unavailable outside the measured
    range of any of them: nothing is extrapolated.
    """
    if len(curve) < 2:  # noqa: PLR2004 (ends of an interval)
        return Estimate.unavailable("measured at one load; sweep the load")
    repeats = _complete(curve)
    if not repeats:
        return Estimate.unavailable("no repeat has a value at every load")
    values = [_interpolated(curve, repeat, rate) for repeat in repeats]
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        return estimate([Value(value, len(curve)) for value in known])
    return Estimate.unavailable(_outside(curve, repeats, len(values) - len(known)))


def _complete(curve: Sequence[LoadPoint]) -> list[int]:
    """Return the repeats with a value at every load of a curve."""
    known = [point.per_user.keys() & point.against.keys() for point in curve]
    return sorted(set.intersection(*map(set, known)))


def _interpolated(curve: Sequence[LoadPoint], repeat: int, rate: float) -> float | None:
    points = sorted((point.per_user[repeat], point.against[repeat]) for point in curve)
    rates, values = zip(*points, strict=True)
    return float(np.interp(rate, rates, values)) if rates[0] <= rate <= rates[-1] else None


def _outside(curve: Sequence[LoadPoint], repeats: Sequence[int], without: int) -> str:
    rates = [[point.per_user[repeat] for point in curve] for repeat in repeats]
    low, high = max(map(min, rates)), min(map(max, rates))
    measured = f"{low:.4g} to {high:.4g} tokens/s per user"
    if without < len(repeats):
        return f"outside the measured range of {without} of {len(repeats)} repeats ({measured})"
    return f"outside the measured range, {measured}"
