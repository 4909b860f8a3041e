"""Statistical decision rules for changes of a metric, from one value per process.

All rules use logarithms and ranks, so that a few disturbed processes have little influence. The
change is the Hodges-Lehmann estimate: the median of all ratios between a candidate and a baseline
process. Its interval inverts the exact Mann-Whitney test. docs/statistics.md explains the method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import scipy  # imports scipy.stats lazily

from llmbench.analysis.stats import Floats

Outcome = Literal[
    "regression", "undecided", "improvement", "equivalent", "inconclusive", "not comparable"
]
Better = Literal["lower", "higher"]

CONFIDENCE = 0.95
FEWEST, MOST_REPEATS = 4, 200
ROUNDED = 100  # percent; larger changes have no decimals


@dataclass(frozen=True, slots=True)
class Change:
    """The ratio of candidate to baseline, with its confidence interval.

    An end of the interval is 0 or infinite if there are too few processes for it.
    """

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.percent} ({self.interval})"

    @property
    def percent(self) -> str:
        """The estimated change in percent, as text."""
        return _percent(self.ratio)

    @property
    def interval(self) -> str:
        """The confidence interval of the change in percent, as text."""
        return f"{_percent(self.low)} to {_percent(self.high)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one metric of one case.

    ``change`` is None if a side has no value. ``p`` is the p-value of a change beyond the tolerance
    in either direction. ``repeats`` estimates how many processes per side would decide an
    undecided or inconclusive metric, None above MOST_REPEATS.
    """

    outcome: Outcome
    change: Change | None
    tolerance: float
    p: float | None = None
    repeats: int | None = None
    reason: str = ""


def _percent(ratio: float) -> str:
    if not 0 < ratio < math.inf:
        return "?"
    percent = 100 * (ratio - 1)
    return f"{percent:+.1f} %" if percent < ROUNDED else f"{percent:+,.0f} %"


# -- ranks -----------------------------------------------------------------------------------------


def mann_whitney_p(baseline: Floats, candidate: Floats) -> float:
    """Return the exact one-sided p-value for a greater candidate (Mann and Whitney, 1947).

    Ties count as not greater.
    """
    not_greater = int((candidate[:, None] <= baseline).sum())
    chances = _u_distribution(len(candidate), len(baseline))
    return float(min(1.0, chances[: not_greater + 1].sum()))


def p_of_shift(baseline: Sequence[float], candidate: Sequence[float]) -> float:
    """Return the exact two-sided p-value for a shift between sides (Mann and Whitney, 1947)."""
    a, b = (np.asarray(side, dtype=np.float64) for side in (baseline, candidate))
    return min(1.0, 2 * min(mann_whitney_p(a, b), mann_whitney_p(b, a)))


def _rank_sum_distribution(ranks: Sequence[int], chosen: int) -> Floats:
    """Return the probability of each sum of ``chosen`` ranks drawn at random from ``ranks``."""
    ways = np.zeros((chosen + 1, sum(ranks) + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank]
    probabilities: Floats = ways[chosen] / ways[chosen].sum()
    return probabilities


@cache  # scipy's exact test recomputes it on every call
def _u_distribution(m: int, n: int) -> Floats:
    """Return the probabilities of U = 0, ..., m·n for two samples of equal distribution."""
    return _rank_sum_distribution(range(1, m + n + 1), m)[m * (m + 1) // 2 :]


def _values_beyond(m: int, n: int, confidence: float) -> int:
    """Return how many of the m·n ratios lie beyond each end of the interval; -1 if unbounded."""
    cumulative = np.cumsum(_u_distribution(m, n))
    return int(np.searchsorted(cumulative, (1 - confidence) / 2, "right")) - 1


def change_of(
    baseline: Sequence[float], candidate: Sequence[float], confidence: float = CONFIDENCE
) -> Change:
    """Return the estimated ratio of candidate to baseline values, with its confidence interval.

    Raise ValueError if a side is empty or a value is not positive.
    """
    a, b = _logs(baseline), _logs(candidate)
    ratios = np.sort(np.subtract.outer(b, a).ravel())
    beyond = _values_beyond(len(b), len(a), confidence)
    low, high = (
        (float(ratios[beyond]), float(ratios[-1 - beyond]))
        if beyond >= 0
        else (-math.inf, math.inf)
    )
    return Change(math.exp(float(np.median(ratios))), math.exp(low), math.exp(high))


def _logs(values: Sequence[float]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not len(array) or not (array > 0).all():
        raise ValueError(f"expected positive values, one per process, got {list(values)}")
    logs: Floats = np.log(array)
    return logs


# -- rules -----------------------------------------------------------------------------------------


def oriented_logs(
    baseline: Sequence[float], candidate: Sequence[float], better: Better
) -> tuple[Floats, Floats]:
    """Return the logarithms of both sides, signed so that greater is worse."""
    sign = 1.0 if better == "lower" else -1.0
    return sign * _logs(baseline), sign * _logs(candidate)


def _shift(a: Floats, b: Floats) -> float:
    return float(np.median(np.subtract.outer(b, a)))


def decide(
    baseline: Sequence[float], candidate: Sequence[float], better: Better, tolerance: float
) -> Verdict:
    """Return the verdict on a metric from the available processes.

    Regression or improvement: the 95 % interval is beyond the tolerance. Equivalent: the 90 %
    interval is within the tolerance (two one-sided tests). Otherwise inconclusive.
    """
    change = change_of(baseline, candidate)
    a, b = oriented_logs(baseline, candidate, better)
    allowed = math.log1p(tolerance)
    worse, improved = mann_whitney_p(a + allowed, b), mann_whitney_p(b + allowed, a)
    verdict = Verdict("inconclusive", change, tolerance, min(1.0, 2 * min(worse, improved)))
    if worse <= (1 - CONFIDENCE) / 2:
        return replace(verdict, outcome="regression")
    if improved <= (1 - CONFIDENCE) / 2:
        return replace(verdict, outcome="improvement")
    within = change_of(baseline, candidate, 2 * CONFIDENCE - 1)
    if 1 / (1 + tolerance) < within.low and within.high < 1 + tolerance:
        return replace(verdict, outcome="equivalent")
    return replace(verdict, repeats=repeats_needed(a, b, allowed))


def repeats_needed(a: Floats, b: Floats, allowed: float) -> int | None:
    """Estimate how many processes per side would decide a metric; None above MOST_REPEATS."""
    spread = robust_std(np.concatenate([a - np.median(a), b - np.median(b)]))
    distance = abs(allowed - abs(_shift(a, b)))
    return repeats_for(2 * spread**2, distance, max(FEWEST, min(len(a), len(b)) + 1))


def repeats_for(variance: float, distance: float, least: int) -> int | None:
    """Estimate the processes per side that tell a change from its tolerance; at least ``least``.

    n = (1.96 + 0.84)² v / d² / 0.955, where v is the variance of a candidate's difference from a
    baseline process, d the distance of the change from the tolerance, and 0.955 the efficiency of
    ranks. This is the normal approximation with 80 % power at a one-sided level of 2.5 %. None
    above MOST_REPEATS.
    """
    if distance == 0:
        return None
    needed = math.ceil((1.96 + 0.84) ** 2 * variance / distance**2 / 0.955)
    return max(least, needed) if needed <= MOST_REPEATS else None


def robust_std(centered: Floats) -> float:
    """Estimate the standard deviation of values around 0, robust against outliers."""
    return 1.4826 * float(np.median(np.abs(centered)))


def benjamini_hochberg(ps: Sequence[float], rate: float = 0.05) -> list[bool]:
    """Return which p-values are significant at a false discovery rate of ``rate``.

    Source: Benjamini and Hochberg, 1995.
    """
    return (scipy.stats.false_discovery_control(ps) <= rate).tolist() if ps else []
