"""Percentiles, their minimum sample sizes, and intervals over processes."""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
import scipy  # imports its modules lazily
from numpy.typing import ArrayLike, NDArray

MIN_PROCESSES = 3  # for an interval
MIN_PROCESSES_95 = 8  # for an interval that is called a 95 % interval (benchmarks/coverage.py)
CONFIDENCE, Z = 0.99, 1.96  # of a percentile's bound, and of its interval

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
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    above = _samples_above(len(ordered), percent) if len(ordered) else 0
    return float(ordered[-above]) if above >= 1 else math.inf


@lru_cache(maxsize=4096)
def _samples_above(n: int, percent: float) -> int:
    """Return the greatest t with P(B ≤ t) ≤ 1 − c, where B ~ Binomial(n, 1 − p); −1 if none."""
    from scipy.special import bdtr, bdtrik  # noqa: PLC0415 (slow to import; scipy.stats is slower)

    share, risk = 1 - percent / 100, 1 - CONFIDENCE
    # the real t with P(B <= t) = risk, rounded up
    above: int = math.floor(bdtrik(risk, n, share)) + 1
    while above >= 0 and bdtr(above, n, share) > risk:
        above -= 1
    return above


def percentile_interval(
    values: ArrayLike, percent: float, z: float = Z, size: float | None = None
) -> tuple[float, float]:
    """Return the confidence interval of a percentile of autocorrelated values, in time order.

    [x₍ₗ₎, x₍ᵤ₎] with l, u = n p ∓ z n √(p (1 − p) / nₑ), where x₍ᵢ₎ are the sorted values, n their
    number, nₑ their effective ``size`` (see percentile_effective_size), and z = 1.96 for 95 %. An
    end outside the sample is infinite. Source: Conover, Practical Nonparametric Statistics, 3.2
    (normal approximation), widened for autocorrelation.
    """
    values = np.asarray(values, dtype=np.float64)
    ordered = np.sort(values)
    n, p = len(ordered), percent / 100
    if not n:
        return float("-inf"), float("inf")
    effective = percentile_effective_size(values, percent) if size is None else size
    spread = z * n * np.sqrt(p * (1 - p) / effective)
    low, high = int(np.floor(n * p - spread)), int(np.ceil(n * p + spread))
    return (
        float(ordered[low - 1]) if low >= 1 else float("-inf"),
        float(ordered[high - 1]) if high <= n else float("inf"),
    )


def percentile_effective_size(values: ArrayLike, percent: float) -> float:
    """Return the effective sample size of values in time order for a percentile q.

    The smaller of the effective sizes of two series: whether a value is at most q, and the value
    or q, whichever is less. The first alone is too large for a high percentile of few values, where
    slow spells are rare.
    """
    values = np.asarray(values, dtype=np.float64)
    bound = np.percentile(values, percent, method="lower")
    size = effective_size(values <= bound)
    return min(size, effective_size(np.minimum(values, bound))) if np.isfinite(bound) else size


def effective_size(values: ArrayLike) -> float:
    """Return the effective sample size of a series for its mean, at most n.

    nₑ = n / τ with τ = 2 Σ (ρ₂ₖ + ρ₂ₖ₊₁) − 1, where ρ is the autocorrelation and the sum over k
    ends before its first nonpositive term. Source: Geyer, Practical Markov Chain Monte Carlo, 1992
    (initial positive sequence).
    """
    series = np.asarray(values, dtype=np.float64)
    centered = series - series.mean()
    n = len(centered)
    padded = 1 << (2 * n - 1).bit_length()  # a power of two is fast to transform
    spectrum = np.abs(np.fft.rfft(centered, padded)) ** 2
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


def geometric_mean(values: ArrayLike) -> Floats:
    """Return the geometric mean of positive values, along the last axis.

    exp(Σ ln xᵢ / n), of values relative to the first, so that it is exact for equal values.
    """
    first, logs = _relative_logs(values)
    mean: Floats = first * np.exp(logs.mean(axis=-1))
    return mean


def geometric_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the interval of a geometric mean, along the last axis: t_interval of the logarithms.

    Raises ValueError below three values.
    """
    first, logs = _relative_logs(values)
    low, high = t_interval(logs, confidence)
    return first * np.exp(low), first * np.exp(high)


def _relative_logs(values: ArrayLike) -> tuple[Floats, Floats]:
    values = np.asarray(values, dtype=np.float64)
    return values[..., 0], np.log(values / values[..., :1])


def t_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return Student's interval of a mean, along the last axis.

    x̄ ± t s / √n, where x̄ is the mean and s the standard deviation of n values, and t the
    (1 + confidence) / 2 quantile of Student's distribution with n − 1 degrees of freedom. Raises
    ValueError below three values. Source: Student, The Probable Error of a Mean, 1908.
    """
    values = np.asarray(values, dtype=np.float64)
    n, first = values.shape[-1], values[..., 0]
    if n < MIN_PROCESSES:
        raise ValueError(f"an interval needs {MIN_PROCESSES} processes, got {n}")
    away = values - values[..., :1]  # exact for equal values
    half = _t_quantile(n - 1, confidence) * away.std(axis=-1, ddof=1) / np.sqrt(n)
    mean = first + away.mean(axis=-1)
    return mean - half, mean + half


def student_quantiles(shares: ArrayLike, degrees: int) -> Floats:
    """Return quantiles of Student's distribution with these degrees of freedom."""
    quantiles: Floats = scipy.special.stdtrit(degrees, np.asarray(shares, dtype=np.float64))
    return quantiles


def _t_quantile(degrees: int, confidence: float) -> float:
    return float(student_quantiles((1 + confidence) / 2, degrees))


def share_interval(counts: ArrayLike, sizes: ArrayLike) -> tuple[Floats, Floats]:
    """Return the 95 % interval of a share from counts in several processes, along the last axis.

    The exact binomial interval (Clopper and Pearson, 1934) of p nₑ in nₑ, where p = Σ mᵢ / Σ nᵢ is
    the share, mᵢ the count among the nᵢ requests of process i, and nₑ the effective size:
    p (1 − p) / v · (z / t)², at most Σ nᵢ. v = k / (k − 1) Σ (mᵢ − p nᵢ)² / (Σ nᵢ)² is the variance
    of p between k processes; z and t are the normal quantile and Student's of k − 1 degrees of
    freedom. Raises ValueError below three processes. Source: Korn and Graubard, Confidence
    Intervals for Proportions, Survey Methodology 24, 1998.
    """
    counts, sizes = np.asarray(counts, np.float64), np.asarray(sizes, np.float64)
    k, n = counts.shape[-1], sizes.sum(axis=-1)
    if k < MIN_PROCESSES:
        raise ValueError(f"an interval needs {MIN_PROCESSES} processes, got {k}")
    p = counts.sum(axis=-1) / n
    spread = k / (k - 1) * ((counts - p[..., None] * sizes) ** 2).sum(axis=-1) / n**2
    factor = (Z / _t_quantile(k - 1, 0.95)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):  # equal shares: limited by n
        effective = np.fmin(n, p * (1 - p) / spread * factor)
    return _exact_binomial(p * effective, effective)


def _exact_binomial(count: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % interval of Clopper and Pearson; a count need not be an integer."""
    rest = n - count
    low = scipy.special.betaincinv(np.maximum(count, 1e-12), rest + 1, 0.025)
    high = scipy.special.betaincinv(count + 1, np.maximum(rest, 1e-12), 0.975)
    return np.where(count > 0, low, 0.0)[()], np.where(rest > 0, high, 1.0)[()]


def wilson_interval(count: int, n: int, z: float = Z) -> tuple[float, float]:
    """Return the 95 % interval of a share from independent trials.

    (p + z² / 2n ± z √(p (1 − p) / n + z² / 4n²)) / (1 + z² / n)

    where p = count / n. Source: Wilson, Probable Inference, the Law of Succession, and Statistical
    Inference, 1927.
    """
    if n < 1 or not 0 <= count <= n:
        raise ValueError(f"expected 0 <= count <= n and n >= 1, got {count} of {n}")
    p, square = count / n, z * z / n
    middle, half = p + square / 2, z * math.sqrt(p * (1 - p) / n + square / (4 * n))
    low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
    return (0.0 if count == 0 else low), (1.0 if count == n else high)
