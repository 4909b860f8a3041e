"""The load at which the share of slow requests reaches what an objective allows, with its interval.

One run gives one share: requests of a run depend on each other, but runs with draws of their own do
not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy  # imports its modules lazily
from numpy.typing import ArrayLike, NDArray

FEWEST_RUNS = 4
CONFIDENCE = 0.975
OVERLOADED = 0.9  # a larger share counts as 1: the first requests find no queue yet
STEPS, CONVERGED = 40, 1e-9  # of Newton's method
LARGEST_STEP = 2.0  # of a logit in one step, so that runs without overlap do not overflow
LARGEST_LOGIT = 30.0
FIRST_REACH, REACHES = 0.02, 10  # relative distances at which the ends of an interval are sought

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


@dataclass(frozen=True, slots=True)
class Runs:
    """Slow and all requests of runs at several loads."""

    loads: Floats
    slow: Floats
    requests: Floats

    @property
    def shares(self) -> Floats:
        """The share of slow requests of each run."""
        return self.slow / self.requests

    def expected(self, logits: Floats) -> Floats:
        """Return the expected numbers of slow requests."""
        limited = np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT)
        expected: Floats = self.requests * scipy.special.expit(limited)
        return expected

    def weights(self, expected: Floats) -> Floats:
        """Return the binomial variances of the numbers of slow requests."""
        return np.maximum(expected * (1 - expected / self.requests), 1e-9)

    def deviance(self, expected: Floats) -> float:
        """Return −2 times the logarithm of the binomial likelihood."""
        fast, expected_fast = self.requests - self.slow, self.requests - expected
        logs = scipy.special.xlogy(self.slow, expected) + scipy.special.xlogy(fast, expected_fast)
        return float(-2 * logs.sum())


def crossing(
    loads: ArrayLike, slow: ArrayLike, requests: ArrayLike, allowed: float
) -> Crossing | None:
    """Return where the share of slow requests crosses ``allowed``; None if it does not rise.

    ln(p / (1 − p)) = y + b (λ − λ*), fitted by maximum likelihood to ``slow`` of the ``requests``
    of each run at its load λ, where y is the logit of ``allowed``, b the slope and λ* the crossing.
    The interval holds every λ* with D(λ*) − D ≤ κ t², where D(λ*) is the deviance with the best
    slope, D that of the fit, t Student's 97.5 % quantile with n − 2 degrees of freedom for n runs,
    and κ the dispersion. Sources: McCullagh and Nelder, Generalized Linear Models, 1989, 4.5 and
    9.2; for κ see _dispersion.
    """
    runs = Runs(*(np.asarray(v, dtype=np.float64) for v in (loads, slow, requests)))
    runs = replace(runs, slow=np.where(runs.shares > OVERLOADED, runs.requests, runs.slow))
    if len(runs.loads) < FEWEST_RUNS or not runs.slow.any():
        return None
    center = runs.loads.mean()
    columns = np.column_stack([np.ones_like(runs.loads), runs.loads - center])
    (a, b), converged = _logistic_fit(columns, runs)
    if b <= 0:
        return None
    gap = _gap(runs.loads, runs.shares > allowed)
    if gap and not converged:
        return Crossing(sum(gap) / 2, *gap, float(b))
    target = float(scipy.special.logit(allowed))
    estimate = float(center + (target - a) / b)
    expected = runs.expected(columns @ np.array([a, b]))
    t = float(scipy.special.stdtrit(len(runs.loads) - 2, CONFIDENCE))
    bound = runs.deviance(expected) + t**2 * _dispersion(columns, runs, expected, estimate - center)

    def excess(load: float) -> float:
        return _constrained_deviance(runs, load, target, b) - bound

    low, high = _end(excess, estimate, -1), _end(excess, estimate, 1)
    if gap:
        estimate = float(np.clip(estimate, *gap))
        low, high = low and min(low, gap[0]), high and max(high, gap[1])
    return Crossing(estimate, low, high, float(b))


def _logistic_fit(columns: Floats, runs: Runs) -> tuple[Floats, bool]:
    """Return intercept and slope by Newton's method, and whether it converged.

    It does not if no request is slow below a load and all are above: the best slope is infinite.
    """
    share = (runs.slow.sum() + 0.5) / (runs.requests.sum() + 1)
    beta: Floats = np.array([scipy.special.logit(share), 0.0])
    reach = np.abs(columns).max(axis=0)
    for _ in range(STEPS):
        expected = runs.expected(columns @ beta)
        step = _inverse(columns, runs, expected) @ (columns.T @ (runs.slow - expected))
        size = float(np.abs(step * reach).max())
        beta = beta + step * min(1.0, LARGEST_STEP / max(size, CONVERGED))
        if size < CONVERGED:
            return beta, True
    return beta, False


def _gap(loads: Floats, missed: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the highest load that was met and the lowest that was missed, unless they mix.

    If the share rises in a step, the runs say nothing about where in this gap the step is. So the
    estimate lies in the gap, and the interval contains it.
    """
    if missed.all() or not missed.any():
        return None
    met_until, missed_from = float(loads[~missed].max()), float(loads[missed].min())
    return (met_until, missed_from) if met_until < missed_from else None


def _inverse(columns: Floats, runs: Runs, expected: Floats) -> Floats:
    """Return the inverse of the information: the covariance if requests were independent."""
    information = columns.T @ (columns * runs.weights(expected)[:, None])
    return np.linalg.pinv(information, hermitian=True).astype(np.float64)


def _dispersion(columns: Floats, runs: Runs, expected: Floats, distance: float) -> float:
    """Return how much more the runs differ than if their requests were independent, at least 1.

    The larger of Pearson's χ² / (n − 2), and the ratio of two variances of the logit at the
    crossing: from the runs' residuals (HC3) and from the model. Sources: McCullagh and Nelder,
    4.5; MacKinnon and White, Some Heteroskedasticity-Consistent Covariance Matrix Estimators, 1985;
    Rotnitzky and Jewell, Hypothesis Testing of Regression Parameters, 1990.
    """
    weights, inverse = runs.weights(expected), _inverse(columns, runs, expected)
    residuals = runs.slow - expected
    pearson = (residuals**2 / weights).sum() / (len(residuals) - 2)
    leverage = np.einsum("ij,jk,ik->i", columns, inverse, columns) * weights
    scores = columns * (residuals / np.maximum(1 - leverage, 0.05))[:, None]
    at = np.array([1.0, distance]) @ inverse
    ratio = ((scores @ at) ** 2).sum() / (at @ np.array([1.0, distance]))
    return float(max(1.0, pearson, ratio))


def _constrained_deviance(runs: Runs, load: float, target: float, slope: float) -> float:
    """Return the deviance of the best rising line that has the target's logit at a load."""
    distances = runs.loads - load
    reach = float(np.abs(distances).max())
    for _ in range(STEPS):
        expected = runs.expected(target + slope * distances)
        information = (distances**2 * runs.weights(expected)).sum()
        step = (distances * (runs.slow - expected)).sum() / information
        before = slope
        largest = slope + LARGEST_STEP / reach
        slope = max(0.0, slope + np.clip(step, -largest, largest))
        if abs(slope - before) * reach < CONVERGED:
            break
    return runs.deviance(runs.expected(target + slope * distances))


def _end(excess: Callable[[float], float], estimate: float, side: int) -> float | None:
    """Return where a function that is negative at the estimate crosses 0, or None if nowhere."""
    inside = estimate
    for reach in range(REACHES):
        outside = estimate * (1 + side * FIRST_REACH * 1.5**reach)
        if outside <= 0:
            return None
        if excess(outside) > 0:
            return float(scipy.optimize.brentq(excess, inside, outside, rtol=1e-6))
        inside = outside
    return None
