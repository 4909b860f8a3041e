"""Percentiles, their minimum sample sizes, and bootstrap intervals over processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_PROCESSES = 3
CONFIDENCE, Z = 0.99, 1.96  # of a percentile's bound, and of its interval
RESAMPLES = 10_000
INTERVAL = (50 * (1 - 0.95), 50 * (1 + 0.95))  # percentiles of resamples: a 95 % interval

Floats = NDArray[np.float64]


# -- percentiles -----------------------------------------------------------------------------------


def percentile(values: ArrayLike, percent: float) -> float:
    """Return an exact percentile, interpolated linearly; raise ValueError for an empty sample."""
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        raise ValueError("an empty sample has no percentiles")
    return float(np.percentile(values, percent))


@cache
def min_samples_for_percentile(percent: float) -> int:
    """Return the number of samples that a percentile needs.

    n is the smallest with P(B ≤ 1) = pⁿ + n (1 − p) pⁿ⁻¹ ≤ 1 − c, where B ~ Binomial(n, 1 − p)
    counts the samples above the percentile, p = percent / 100 and c is the confidence. 64 for p90,
    130 for p95, 662 for p99. Source: MLPerf Inference's early stopping.
    """
    p = percent / 100
    n = 2
    while p**n + n * (1 - p) * p ** (n - 1) > 1 - CONFIDENCE:
        n += 1
    return n


def percentile_upper_bound(values: ArrayLike, percent: float) -> float:
    """Return the upper confidence bound of a percentile of independent values.

    x₍ₙ₋ₜ₎, the value exceeded by t of the n values, for the greatest t with P(B ≤ t) ≤ 1 − c, where
    B ~ Binomial(n, 1 − p). Infinity if t < 1 (see min_samples_for_percentile). Source: MLPerf
    Inference's early stopping.
    """
    from scipy.stats import binom  # noqa: PLC0415 (slow to import, needed only by reports)

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n, share, risk = len(ordered), 1 - percent / 100, 1 - CONFIDENCE
    # the smallest t with P(B <= t) >= risk is one too large unless equal
    above = int(binom.ppf(risk, n, share))
    above -= bool(binom.cdf(above, n, share) > risk)
    return float(ordered[n - above]) if above >= 1 else float("inf")


def percentile_interval(values: ArrayLike, percent: float) -> tuple[float, float]:
    """Return the confidence interval of a percentile of autocorrelated values, in time order.

    [x₍ₗ₎, x₍ᵤ₎] with l, u = n p ∓ z n √(p (1 − p) / nₑ), where x₍ᵢ₎ are the sorted values, n their
    number, nₑ the effective size of the indicator series "at most the percentile", and z = 1.96 for
    95 %. An end outside the sample is infinite. Source: Conover, Practical Nonparametric
    Statistics, 3.2 (normal approximation), widened for autocorrelation.
    """
    values = np.asarray(values, dtype=np.float64)
    ordered = np.sort(values)
    n, p = len(ordered), percent / 100
    if not n:
        return float("-inf"), float("inf")
    effective = effective_size(values <= np.percentile(ordered, percent, method="lower"))
    spread = Z * n * np.sqrt(p * (1 - p) / effective)
    low, high = int(np.floor(n * p - spread)), int(np.ceil(n * p + spread))
    return (
        float(ordered[low - 1]) if low >= 1 else float("-inf"),
        float(ordered[high - 1]) if high <= n else float("inf"),
    )


def effective_size(values: ArrayLike) -> float:
    """Return the effective sample size of a series for its mean, at most n.

    nₑ = n / τ with τ = 2 Σ (ρ₂ₖ + ρ₂ₖ₊₁) − 1, where ρ is the autocorrelation and the sum over k
    ends before its first nonpositive term. Source: Geyer, Practical Markov Chain Monte Carlo, 1992
    (initial positive sequence).
    """
    series = np.asarray(values, dtype=np.float64)
    centered = series - series.mean()
    n = len(centered)
    spectrum = np.abs(np.fft.rfft(centered, 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[:n]
    if covariance[0] <= 0:
        return float(n)
    correlation = covariance / covariance[0]
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    time = 2 * pairs[: negative[0] if len(negative) else None].sum() - 1
    return float(n / max(time, 1.0))


def ecdf(values: ArrayLike) -> tuple[Floats, Floats]:
    """Return the empirical CDF: the sorted values and the fraction of the sample up to each."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return ordered, np.arange(1, len(ordered) + 1) / len(ordered)


# -- intervals over processes ----------------------------------------------------------------------


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean over processes of nonnegative values.

    x̄ (x̄* / x̄)^√(n / (n − 1)) at its 2.5 and 97.5 percentiles, where x̄ is the mean of n values
    and x̄* that of one of 10,000 resamples. The exponent corrects for resamples, which vary too
    little by √((n − 1) / n); working on ratios keeps the interval positive. Raise ValueError below
    three processes. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 13.3.
    """
    sample = np.asarray(values, dtype=np.float64)
    n, mean = len(sample), float(sample.mean())
    if n < MIN_PROCESSES:
        raise ValueError(f"an interval needs {MIN_PROCESSES} processes, got {n}")
    if mean == 0:
        return 0.0, 0.0
    means = _resampled_means(sample, np.random.default_rng(0))
    low, high = np.percentile((means / mean) ** np.sqrt(n / (n - 1)), INTERVAL)
    return mean * float(low), mean * float(high)


def bootstrap_difference(
    baseline: Sequence[float], candidate: Sequence[float]
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the difference of two means over processes.

    ȳ − x̄ + (ȳ* − ȳ) √(m / (m − 1)) − (x̄* − x̄) √(n / (n − 1)) at its 2.5 and 97.5 percentiles,
    where x are the n baseline values, y the m candidate values, and * marks a resample.
    """
    rng = np.random.default_rng(0)
    below, above = (_widened(np.asarray(side, np.float64), rng) for side in (baseline, candidate))
    low, high = np.percentile(above - below, INTERVAL)
    return float(low), float(high)


def _widened(sample: Floats, rng: np.random.Generator) -> Floats:
    n, mean = len(sample), sample.mean()
    widened: Floats = mean + (_resampled_means(sample, rng) - mean) * np.sqrt(n / (n - 1))
    return widened


def _resampled_means(sample: Floats, rng: np.random.Generator) -> Floats:
    n = len(sample)
    means: Floats = sample[rng.integers(0, n, (RESAMPLES, n))].mean(axis=1)
    return means
