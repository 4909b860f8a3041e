"""Ratios of two cases paired by repeat, and how many of them may be claimed together.

The cases of a run set run in turn, so the values of one repeat share the state of the machine and,
unless the scenario forbids it, one draw of arrivals and contents. The test is Student's t on the
logarithms of their ratios; Holm's correction holds for all claims of a report together.
docs/statistics.md has the error rates.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # imports its modules lazily
from numpy.typing import NDArray

from llmbench.analysis.stats import Floats, t_interval

ALPHA = 0.05  # of a report: the probability of any false claim
POWER = 0.8
MOST_REPEATS = 200


def p_of_ratios(logs: Floats) -> Floats:
    """Return the two-sided p-value of a mean log ratio other than 0, along the last axis.

    Student's t = d̄ √n / s with n − 1 degrees of freedom, where d̄ is the mean and s the standard
    deviation of n log ratios.
    """
    n = logs.shape[-1]
    mean, spread = logs.mean(axis=-1), logs.std(axis=-1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal ratios
        t = np.where(mean == 0, 0.0, np.abs(mean) * math.sqrt(n) / spread)
    p: Floats = 2 * scipy.special.stdtr(n - 1, -t)
    return p


def holm(ps: Floats, alpha: float = ALPHA) -> NDArray[np.bool_]:
    """Return which of the p-values along the last axis are significant together.

    The i-th smallest of m is significant if it and all smaller ones satisfy p ≤ α / (m − i + 1).
    The probability of any false rejection is at most α. Source: Holm, 1979.
    """
    ps = np.asarray(ps, dtype=np.float64)
    m = ps.shape[-1]
    order = np.argsort(ps, axis=-1)
    passed = np.take_along_axis(ps, order, axis=-1) <= alpha / (m - np.arange(m))
    significant = np.empty(ps.shape, dtype=bool)
    np.put_along_axis(significant, order, np.logical_and.accumulate(passed, axis=-1), axis=-1)
    return significant


def min_repeats(claims: int) -> int:
    """Return the least number of repeats from which ``claims`` claims can be tested together.

    The smallest n ≥ 3 with 2 m / 4ⁿ ≤ α, where m is the number of claims. Where processes have two
    equally frequent modes, such as two layouts of compiled code, two equal cases are in different
    modes in all n repeats with probability 2 / 4ⁿ, and no test of n ratios can see it.
    """
    return max(3, math.ceil(math.log(2 * claims / ALPHA, 4)))


def simultaneous_interval(logs: Floats, claims: int) -> tuple[float, float]:
    """Return the interval of a ratio that holds together with those of all other claims.

    Student's interval of the mean log ratio at the level 1 − α / m for m claims (Bonferroni).
    """
    low, high = t_interval(logs, 1 - ALPHA / claims)
    return math.exp(low), math.exp(high)


def repeats_needed(logs: Floats, claims: int) -> int | None:
    """Estimate how many repeats would support a claim; None above MOST_REPEATS.

    The smallest n with (t₁ + t₂) s / √n ≤ |d̄|, where t₁ is the two-sided quantile of Student's
    distribution at α / m for m claims and t₂ its 80 % quantile (the power), both with n − 1 degrees
    of freedom. The true ratio and its spread are taken to be as measured.
    """
    n = np.arange(min_repeats(claims), MOST_REPEATS + 1)
    level = 1 - ALPHA / claims / 2
    quantiles = scipy.special.stdtrit(n - 1, level) + scipy.special.stdtrit(n - 1, POWER)
    enough = quantiles * logs.std(ddof=1) / np.sqrt(n) <= abs(logs.mean())
    return int(n[enough.argmax()]) if enough.any() else None
