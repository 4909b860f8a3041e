"""The load at which the share of slow requests reaches what an objective allows, with its interval.

One run gives one share: requests of a run depend on each other, but runs with draws of their own do
not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # imports its modules lazily
from numpy.typing import ArrayLike, NDArray

FEWEST_RUNS = 4
STEPS, CONVERGED = 30, 1e-9  # of the fit
LARGEST_STEP = 2.0  # of a logit in one step of the fit, so that separated runs do not overflow

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Crossing:
    """The load at which a share reaches its limit, and the ends of the 95 % interval.

    An end that the runs do not bound is None. ``slope`` is that of the logit, per unit of load.
    """

    estimate: float
    low: float | None
    high: float | None
    slope: float


def crossing(
    loads: ArrayLike, slow: ArrayLike, requests: ArrayLike, allowed: float
) -> Crossing | None:
    """Return where the share of slow requests crosses ``allowed``; None if it does not rise.

    ln(p / (1 − p)) = a + b (λ − λ̄), fitted by maximum likelihood to ``slow`` of the ``requests`` of
    each run at its load λ, where λ̄ is the mean load; the crossing is at λ̄ + (y − a) / b, where y is
    the logit of ``allowed``. The interval holds every λ with |a + b x − y| ≤ t √(v₁₁ + 2 v₁₂ x +
    v₂₂ x²), where x = λ − λ̄, t is Student's 97.5 % quantile with n − 2 degrees of freedom for n
    runs, and v the covariance of a and b from the differences between runs (HC3). Sources: Fieller,
    Some Problems in Interval Estimation, 1954; MacKinnon and White, Some
    Heteroskedasticity-Consistent Covariance Matrix Estimators, 1985.
    """
    loads, slow, requests = (np.asarray(v, dtype=np.float64) for v in (loads, slow, requests))
    if len(loads) < FEWEST_RUNS or not slow.any():
        return None
    center = loads.mean()
    columns = np.column_stack([np.ones_like(loads), loads - center])
    (a, b), covariance, converged = _logistic_fit(columns, slow, requests)
    if b <= 0:
        return None
    distance = a - float(scipy.special.logit(allowed))
    t = float(scipy.special.stdtrit(len(loads) - 2, 0.975))
    low, high = (float(center + end) for end in _fieller(distance, b, covariance * t**2))
    gap = _gap(loads, slow > allowed * requests)
    if gap and not converged:
        return Crossing(sum(gap) / 2, *gap, float(b))
    if gap:
        low, high = min(low, gap[0]), max(high, gap[1])
    return Crossing(
        float(center - distance / b),
        low if 0 < low < np.inf else None,
        high if np.isfinite(high) else None,
        float(b),
    )


def _logistic_fit(columns: Floats, slow: Floats, requests: Floats) -> tuple[Floats, Floats, bool]:
    """Return the coefficients, their HC3 covariance, and whether Newton's method converged.

    It does not if no request is slow below a load and all are above: the best slope is infinite.
    """
    share = (slow.sum() + 0.5) / (requests.sum() + 1)
    beta = np.array([scipy.special.logit(share), 0.0])
    reach = np.abs(columns).max(axis=0)
    size = np.inf
    for _ in range(STEPS):
        expected, inverse = _expectation(columns, beta, requests)
        step = inverse @ (columns.T @ (slow - expected))
        size = float(np.abs(step * reach).max())
        beta = beta + step * min(1.0, LARGEST_STEP / max(size, 1e-12))
        if size < CONVERGED:
            break
    expected, inverse = _expectation(columns, beta, requests)
    weights = _weights(expected, requests)
    leverage = np.einsum("ij,jk,ik->i", columns, inverse, columns) * weights
    residuals = (slow - expected) / np.maximum(1 - leverage, 0.05)
    scores = columns * residuals[:, None]
    return beta, inverse @ (scores.T @ scores) @ inverse, size < CONVERGED


def _expectation(columns: Floats, beta: Floats, requests: Floats) -> tuple[Floats, Floats]:
    """Return the expected counts and the inverse of the information."""
    expected = requests * scipy.special.expit(np.clip(columns @ beta, -30, 30))
    information = columns.T @ (columns * _weights(expected, requests)[:, None])
    inverse: Floats = np.linalg.pinv(information, hermitian=True).astype(np.float64)
    return expected, inverse


def _weights(expected: Floats, requests: Floats) -> Floats:
    return np.maximum(expected * (1 - expected / requests), 1e-9)


def _fieller(distance: float, slope: float, v: Floats) -> tuple[float, float]:
    """Return the ends of the x around −distance / slope with (distance + slope x)² ≤ var(x).

    var(x) = v₁₁ + 2 v₁₂ x + v₂₂ x². An end that does not exist is infinite.
    """
    square, linear = slope**2 - v[1, 1], distance * slope - v[0, 1]
    root = linear**2 - square * (distance**2 - v[0, 0])
    if root < 0 or square == 0:
        return float("-inf"), float("inf")
    ends = sorted((-linear + sign * np.sqrt(root)) / square for sign in (-1, 1))
    if square > 0:
        return float(ends[0]), float(ends[1])
    # the slope may be 0: the set is all x but those between the ends
    estimate = -distance / slope
    return (
        (float(ends[1]), float("inf")) if estimate >= ends[1] else (float("-inf"), float(ends[0]))
    )


def _gap(loads: Floats, missed: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the highest load that was met and the lowest that was missed, unless they mix.

    The interval contains this gap. It is the gap if the share rises in a step, since such runs say
    nothing about where in the gap the step is.
    """
    if missed.all() or not missed.any():
        return None
    met_until, missed_from = float(loads[~missed].max()), float(loads[missed].min())
    return (met_until, missed_from) if met_until < missed_from else None
