"""The fit of step times: non-negative least squares of relative errors, with Huber's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from llmbench.simulation import basis
from llmbench.simulation.steps import Flags, Steps

Floats = NDArray[np.float64]

ROUNDS = 20
HUBER = 1.345  # robust standard deviations, from which on a residual has less weight
MAD_TO_STD = 1.4826
FEWEST_APART = 30  # prefill steps after an idle time, and others, for separate factors
SPELL_STEPS = 32  # consecutive steps, in which a machine is taken to have one speed
BETWEEN = 0.05  # weight of differences between spells, for what those within one cannot tell


class Residuals(msgspec.Struct, frozen=True):
    """Relative residuals of a fit: their root mean square, and percentiles of absolute values."""

    rms: float
    p50: float
    p95: float


class Fitted(NamedTuple):
    """The coefficients of the terms, by kind of step.

    ``wakes_apart`` is whether prefill steps after an idle time, which are slower, are enough to
    tell from others.
    """

    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    wakes_apart: bool


class Factors(NamedTuple):
    """By which factors steps took longer than fitted, by kind, in their order."""

    prefill: Floats
    decode: Floats
    wake: Floats


def fitted(steps: Steps) -> Fitted:
    """Fit coefficients to steps, robustly, so that no step is left out and none dominates.

    c = argmin Σ wᵢ (rᵢ(c) − θ r̄ᵢ(c) − (1 − θ))², c ≥ 0, where rᵢ = tᵢ(c) / yᵢ is the fitted over
    the measured time of step i, and wᵢ = min(1, k / |zᵢ|) with zᵢ the residual in robust standard
    deviations and k = 1.345 (Huber, Robust Estimation of a Location Parameter, 1964), by iterated
    weights. r̄ᵢ is the mean over SPELL_STEPS, and θ = 1 − BETWEEN: a slow spell of the machine
    makes steps of many sequences frequent, and these would seem slow if they were compared with
    steps of other spells (Mundlak, On the Pooling of Time Series and Cross Section Data, 1978).
    Then the coefficients of each kind are scaled, so that its fitted and measured times have the
    same sum. Prefill steps after an idle time are slower (caches and clocks of the processor): if
    there are enough of them, they are left out of that sum and have factors of their own.
    """
    steps = steps.where(steps.seconds > 0)
    busy, woken = _prefills(steps, wakes_apart=True)
    if not (wakes_apart := bool(min(busy.sum(), woken.sum()) >= FEWEST_APART)):
        busy |= woken
    coefficients = _robust(basis.terms(steps), steps.seconds)
    prefill, decode = np.split(coefficients, [len(basis.PREFILL)])
    prefill_seconds, decode_seconds = _seconds(prefill, decode, steps)
    return Fitted(
        tuple((prefill * _scale(prefill_seconds, steps, busy)).tolist()),
        tuple((decode * _scale(decode_seconds, steps, steps.decodes)).tolist()),
        wakes_apart,
    )


def factors(fit: Fitted, steps: Steps) -> Factors:
    """Return how steps differ from a fit. Steps that prefill and decode tell of neither."""
    steps = steps.where(steps.seconds > 0)
    busy, woken = _prefills(steps, wakes_apart=fit.wakes_apart)
    prefill_seconds, decode_seconds = _seconds(fit.prefill, fit.decode, steps)
    return Factors(
        steps.seconds[busy] / prefill_seconds[busy],
        steps.seconds[steps.decodes] / decode_seconds[steps.decodes],
        steps.seconds[woken] / prefill_seconds[woken],
    )


def residuals(ratios: Floats) -> Residuals:
    """Return the residuals of some factors."""
    errors = np.abs(ratios - 1)
    middle, high = np.percentile(errors, [50, 95]).tolist()
    return Residuals(float(np.sqrt(np.mean(errors**2))), middle, high)


def _prefills(steps: Steps, *, wakes_apart: bool) -> tuple[Flags, Flags]:
    """Return which steps only prefill, and of these, which are wake steps, if they are apart."""
    alone = (steps.prefills > 0) & (steps.rows == 0)
    woken = alone & steps.after_wait & wakes_apart
    return alone & ~woken, woken


def _seconds(
    prefill: Sequence[float] | Floats, decode: Sequence[float] | Floats, steps: Steps
) -> tuple[Floats, Floats]:
    """Return the fitted times of the prefill and of the decode part of each step."""
    terms = basis.terms(steps)
    return terms[:, : len(prefill)] @ prefill, terms[:, len(prefill) :] @ decode


def _scale(times: Floats, steps: Steps, chosen: Flags) -> float:
    """Return the factor with which the times of chosen steps have the sum of the measured ones."""
    return float(steps.seconds[chosen].sum() / times[chosen].sum()) if chosen.any() else 1.0


def _robust(terms: Floats, seconds: Floats) -> Floats:
    relative = terms / seconds[:, None]
    weights = np.ones(len(seconds))
    coefficients = np.zeros(terms.shape[1])
    for _ in range(ROUNDS):
        before = coefficients
        apart = relative - (1 - BETWEEN) * _spell_means(relative, weights)
        roots = np.sqrt(weights)
        coefficients, _ = nnls(apart * roots[:, None], BETWEEN * roots)
        error = BETWEEN - apart @ coefficients
        std = MAD_TO_STD * np.median(np.abs(error)) or 1.0
        weights = np.minimum(1, HUBER * std / np.maximum(np.abs(error), 1e-300))
        if np.allclose(before, coefficients, rtol=1e-6):
            break
    return coefficients


def _spell_means(values: Floats, weights: Floats) -> Floats:
    """Return for each step the weighted means of its spell, [steps, terms]."""
    begins = np.arange(0, len(weights), SPELL_STEPS)
    sums = np.add.reduceat(values * weights[:, None], begins)
    means: Floats = sums / np.add.reduceat(weights, begins)[:, None]
    return np.repeat(means, SPELL_STEPS, axis=0)[: len(weights)]
