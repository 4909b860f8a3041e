"""Whether a quantity drifts over a long run: its slope, and shifts of its level.

Values are those of equal spans of time, one after the other. They are compared by ranks, so that
single disturbed spans have little weight, and their autocorrelation widens every test.
docs/statistics.md has the method and its measured rate of false alarms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy  # imports its modules lazily

from llmbench.analysis.stats import Floats, effective_size

FEWEST = 20  # values
MIN_SEGMENT = 5  # values between two shifts
CONFIDENCE = 0.95
FITTED = 4  # parameters of a line or a step: two levels, a slope, a place
MOST_PERSISTENT = 0.95  # of an autoregressive coefficient


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift of the level: the index of the first value after it, and the medians around it."""

    index: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Drift:
    """The slope per unit of time with its 95 % interval, and what the tests say.

    ``p`` is the p-value of any drift. ``is_shift``: shifts of the level describe the values better
    than a line. ``inflation`` is the factor by which autocorrelation widens the variances;
    ``effective`` is the number of independent values that the values are worth.
    """

    slope: float
    low: float
    high: float
    p: float
    is_shift: bool
    inflation: float
    effective: float


def drift_of(times: Floats, values: Floats) -> Drift:
    """Test values, FEWEST or more in time order, for a trend and for a shift of the level.

    p = min(1, 2 min(p_trend, p_shift)), by Bonferroni.
    """
    slopes = _slopes(times, values)
    slope = float(np.median(slopes))
    cut, distance = _pettitt(values)
    line, step = values - slope * times, _without_step(values, cut)
    is_shift = float(np.abs(step).sum()) < float(np.abs(line - np.median(line)).sum())
    inflation = _inflation(step if is_shift else line)
    n = len(values)
    freedom = _freedom(n, inflation)
    p = min(_p_of_trend(values, inflation, freedom), _p_of_shift(n, distance, inflation, freedom))
    interval = _interval(slopes, values, inflation, freedom)
    return Drift(slope, *interval, min(1.0, 2 * p), is_shift, inflation, n / inflation)


def shifts(values: Floats, inflation: float, alpha: float) -> list[Shift]:
    """Return the shifts of the level, each significant at ``alpha``, in order of time.

    The values are split at the most likely shift, and both parts again (binary segmentation).
    """
    freedom = _freedom(len(values), inflation)
    edges = [0, *_splits(values, inflation, freedom, alpha, 0), len(values)]
    levels = [float(np.median(values[begin:end])) for begin, end in pairwise(edges)]
    return [Shift(edge, *pair) for edge, pair in zip(edges[1:-1], pairwise(levels), strict=True)]


def _splits(
    values: Floats, inflation: float, freedom: float, alpha: float, start: int
) -> Iterator[int]:
    if len(values) < 2 * MIN_SEGMENT:
        return
    cut, distance = _pettitt(values)
    if _p_of_shift(len(values), distance, inflation, freedom) > alpha:
        return
    yield from _splits(values[:cut], inflation, freedom, alpha, start)
    yield start + cut
    yield from _splits(values[cut:], inflation, freedom, alpha, start + cut)


# -- the tests -------------------------------------------------------------------------------------


def _slopes(times: Floats, values: Floats) -> Floats:
    """Return the slopes between all pairs of values, sorted; their median is the slope.

    Source: Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, 1968.
    """
    first, second = np.triu_indices(len(values), 1)
    rises, spans = values[second] - values[first], times[second] - times[first]
    slopes: Floats = np.sort(rises / spans)
    return slopes


def _interval(
    slopes: Floats, values: Floats, inflation: float, freedom: float
) -> tuple[float, float]:
    """Return the 95 % interval of the slope: sₗ and sᵤ with l, u = (N ∓ t √(λ V)) / 2.

    s are the N sorted slopes, V is the variance of Kendall's S, λ the inflation, and t the quantile
    of Student's distribution.
    """
    quantile = scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2)
    spread = quantile * np.sqrt(inflation * _variance_of_s(values))
    low, high = (len(slopes) - spread) / 2, (len(slopes) + spread) / 2
    last = len(slopes) - 1
    return float(slopes[max(0, int(low))]), float(slopes[min(last, int(np.ceil(high)))])


def _p_of_trend(values: Floats, inflation: float, freedom: float) -> float:
    """Return the two-sided p-value of the Mann-Kendall test, S / √(λ V) being Student's t.

    S = Σ_{i<j} sign(xⱼ − xᵢ), with a continuity correction of 1; λ = n / nₑ widens its variance V
    as Hamed and Rao (1998) do, but with nₑ by Geyer's initial positive sequence. They use the
    normal distribution, which leaves out that λ is an estimate. Sources: Mann, 1945; Hamed and Rao,
    A Modified Mann-Kendall Trend Test for Autocorrelated Data, 1998.
    """
    first, second = np.triu_indices(len(values), 1)
    s = float(np.sign(values[second] - values[first]).sum())
    variance = inflation * _variance_of_s(values)
    if not variance:
        return 1.0
    return float(2 * scipy.special.stdtr(freedom, -max(0.0, abs(s) - 1) / np.sqrt(variance)))


def _variance_of_s(values: Floats) -> float:
    """V = (n (n − 1) (2n + 5) − Σ t (t − 1) (2t + 5)) / 18, for groups of t equal values."""
    n, ties = len(values), np.unique(values, return_counts=True)[1].astype(np.float64)
    every = n * (n - 1) * (2 * n + 5)
    return float(every - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18


def _pettitt(values: Floats) -> tuple[int, float]:
    """Return where a shift is most likely, and Pettitt's distance K = max |Uₜ|.

    Uₜ = 2 Σ_{i≤t} Rᵢ − t (n + 1), where R are the ranks; at least MIN_SEGMENT values are on both
    sides. Source: Pettitt, A Non-Parametric Approach to the Change-Point Problem, 1979.
    """
    n, ranks = len(values), scipy.stats.rankdata(values)
    counts = np.arange(1, n + 1)
    distances = np.abs(2 * np.cumsum(ranks) - counts * (n + 1))
    inner = distances[MIN_SEGMENT - 1 : n - MIN_SEGMENT]
    cut = int(np.argmax(inner))
    return cut + MIN_SEGMENT, float(inner[cut])


def _p_of_shift(n: int, distance: float, inflation: float, freedom: float) -> float:
    """P ≈ 2 (1 + z² / ν)^(−ν/2), where z² = 12 K² / (λ (n³ + n²)) and ν are degrees of freedom.

    This is Pettitt's 2 exp(−z²/2) (1979), with the variance widened by λ, as a mean over variances
    that are distributed as χ² with ν degrees of freedom, as in Student's t.
    """
    square = 12 * distance**2 / (inflation * (n**3 + n**2))
    return min(1.0, 2 * float(np.exp(-freedom / 2 * np.log1p(square / freedom))))


def _without_step(values: Floats, cut: int) -> Floats:
    parts = values[:cut], values[cut:]
    return np.concatenate([part - np.median(part) for part in parts])


def _freedom(n: int, inflation: float) -> float:
    """ν = nₑ − 2, at least 1: a variance is estimated from nₑ = n / λ values around a line."""
    return max(1.0, n / inflation - 2)


def _inflation(residuals: Floats) -> float:
    """Return λ ≥ 1 of the ranks of what the drift leaves: the larger of two estimates.

    n / nₑ, and (1 + φ) / (1 − φ) of a first-order autoregressive series, whose coefficient
    φ = (n r + k) / (n − k − 2), of at most MOST_PERSISTENT, corrects the autocorrelation r of
    neighbors for what removing a drift of k = FITTED parameters takes from it: r is too small by
    (k + (k + 2) φ) / n. Source of the correction: Marriott and Pope, Bias in the Estimation of
    Autocorrelations, 1954 (there of a mean).
    """
    ranks = scipy.stats.rankdata(residuals)
    n, centered = len(ranks), ranks - ranks.mean()
    square = float(centered @ centered)
    neighbors = float(centered[1:] @ centered[:-1]) / square if square else 0.0
    phi = min(max(0.0, (n * neighbors + FITTED) / (n - FITTED - 2)), MOST_PERSISTENT)
    return max(1.0, n / effective_size(ranks), (1 + phi) / (1 - phi))
