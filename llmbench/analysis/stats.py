"""Percentiles, how much data they need, and intervals over processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PROCESSES = 3
RESAMPLES = 10_000


def percentile(values: ArrayLike, percent: float) -> float:
    """Give the exact percentile of a sample, interpolated linearly as numpy does.

    Raises ValueError for an empty sample.
    """
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        raise ValueError("an empty sample has no percentiles")
    return float(np.percentile(values, percent))


def min_samples_for_percentile(percent: float, confidence: float = 0.99) -> int:
    """Tell how many samples a percentile needs to be known with a confidence.

    The smallest n for which seeing one value or none beyond the percentile has a chance of at
    most 1 - confidence: P(Binomial(n, 1 - p) <= 1) <= 1 - c, MLPerf's early-stopping rule. 64 for
    p90, 130 for p95, 662 for p99.
    """
    p = percent / 100
    n = 2
    while p**n + n * (1 - p) * p ** (n - 1) > 1 - confidence:
        n += 1
    return n


def percentile_upper_bound(values: ArrayLike, percent: float, confidence: float = 0.99) -> float:
    """Give what a percentile of independent values is at most, with a confidence.

    The value above which t of n lie, for the greatest t with P(Binomial(n, 1 - p) <= t) <= 1 - c:
    MLPerf's early-stopping estimate. Infinity where there are too few values for any (see
    min_samples_for_percentile).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    allowed = _most_beyond(len(ordered), 1 - percent / 100, 1 - confidence)
    return float(ordered[len(ordered) - allowed]) if allowed >= 1 else float("inf")


def _most_beyond(n: int, share: float, risk: float) -> int:
    """Give the greatest t with P(Binomial(n, share) <= t) <= risk; -1 where there is none.

    Chances are added up from so far below the mean that what is left out does not count.
    """
    mean, deviation = n * share, np.sqrt(n * share * (1 - share))
    first = max(0, int(mean - 12 * deviation))
    k = np.arange(first, int(np.ceil(mean)))
    ways = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    start = ways + first * math.log(share) + (n - first) * math.log1p(-share)
    steps = np.log((n - k) / (k + 1)) + math.log(share / (1 - share))
    chances = np.exp(start + np.concatenate([[0.0], np.cumsum(steps)]))
    return first + int(np.searchsorted(np.cumsum(chances), risk, "right")) - 1


def percentile_interval(values: ArrayLike, percent: float, z: float = 1.96) -> tuple[float, float]:
    """Give the interval of a percentile of values in the order they came, 95 % for a z of 1.96.

    Between two order statistics, by the normal approximation of how many values lie below (Conover,
    Practical Nonparametric Statistics, 3.2), as wide as values that hang together make it: there
    are fewer than n that say something of their own (effective_size). An end for which there are
    too few values is infinite.
    """
    values = np.asarray(values, dtype=np.float64)
    ordered = np.sort(values)
    n, p = len(ordered), percent / 100
    if not n:
        return float("-inf"), float("inf")
    effective = effective_size(values <= np.percentile(ordered, percent, method="lower"))
    spread = z * n * np.sqrt(p * (1 - p) / effective)
    low, high = int(np.floor(n * p - spread)), int(np.ceil(n * p + spread))
    return (
        float(ordered[low - 1]) if low >= 1 else float("-inf"),
        float(ordered[high - 1]) if high <= n else float("inf"),
    )


def effective_size(values: ArrayLike) -> float:
    """Tell how many independent values a series is worth for its mean; n at the most.

    n over the integrated autocorrelation time, summed in pairs of lags as long as they are positive
    (Geyer, Practical Markov Chain Monte Carlo, 1992).
    """
    series = np.asarray(values, dtype=np.float64)
    centred = series - series.mean()
    n = len(centred)
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[:n]
    if covariance[0] <= 0:
        return float(n)
    correlation = covariance / covariance[0]
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    time = 2 * pairs[: negative[0] if len(negative) else None].sum() - 1
    return float(n / max(time, 1.0))


def ecdf(values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the empirical distribution: sorted values and the share of the sample up to each."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return ordered, np.arange(1, len(ordered) + 1) / len(ordered)


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Give the bootstrap interval of the mean over processes (one value a process, none negative).

    Percentile bootstrap of 10,000 seeded resamples. What a resample's mean differs by, as a ratio,
    is widened by the power sqrt(n / (n - 1)), since a resample of n values is too narrow by that
    factor (Efron and Tibshirani 1993, 13.3); on ratios an interval stays positive. Raises
    ValueError below three processes.
    """
    sample = np.asarray(values, dtype=np.float64)
    n, mean = len(sample), float(sample.mean())
    if n < MIN_PROCESSES:
        raise ValueError(f"an interval needs {MIN_PROCESSES} processes, got {n}")
    if mean == 0:
        return 0.0, 0.0
    draws = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    ratios = (sample[draws].mean(axis=1) / mean) ** np.sqrt(n / (n - 1))
    low, high = np.percentile(ratios, [50 * (1 - confidence), 50 * (1 + confidence)])
    return mean * float(low), mean * float(high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric over the processes of a case: its mean, and an interval where there can be one.

    ``values`` has one number a process. ``value`` is None when no process has it; ``reason`` says
    why the value, or failing that the interval, is missing.
    """

    value: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]
    reason: str | None = None

    @property
    def n(self) -> int:
        """How many processes it rests on."""
        return len(self.values)


def estimate(values: Sequence[float | None], reason: str | None = None) -> Estimate:
    """Estimate a metric from one value a process; None stands for "not measured there"."""
    found = tuple(value for value in values if value is not None)
    if not found:
        return Estimate(None, None, None, (), reason or "no run of this case finished")
    if len(found) < MIN_PROCESSES:
        why = f"an interval needs {MIN_PROCESSES} processes, got {len(found)}"
        return Estimate(float(np.mean(found)), None, None, found, why)
    low, high = bootstrap_interval(found)
    return Estimate(float(np.mean(found)), low, high, found)


def difference(
    baseline: Sequence[float], candidate: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """Estimate by how much the mean of one case is above that of another, one value a process.

    Both are resampled, and what a resample differs by is widened as in bootstrap_interval. Below
    three processes a side there is no interval, and no value either: a difference means nothing
    without it.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (baseline, candidate)]
    if (fewest := min(map(len, sides))) < MIN_PROCESSES:
        why = f"a difference needs {MIN_PROCESSES} processes of each case, got {fewest}"
        return Estimate(None, None, None, (), why)
    draws = np.random.default_rng(seed)
    below, above = (_resampled(side, draws) for side in sides)
    middle = float(sides[1].mean() - sides[0].mean())
    low, high = np.percentile(above - below, [50 * (1 - confidence), 50 * (1 + confidence)])
    return Estimate(middle, float(low), float(high), tuple(sides[1] - sides[0].mean()))


def _resampled(sample: NDArray[np.float64], draws: np.random.Generator) -> NDArray[np.float64]:
    n, mean = len(sample), sample.mean()
    means = sample[draws.integers(0, n, (RESAMPLES, n))].mean(axis=1)
    widened: NDArray[np.float64] = mean + (means - mean) * np.sqrt(n / (n - 1))
    return widened
