"""The fit of step times: non-negative least squares of relative errors, with Huber's weights."""

from __future__ import annotations

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


class Residuals(msgspec.Struct, frozen=True):
    """Relative residuals of a fit: their root mean square, and percentiles of absolute values."""

    rms: float
    p50: float
    p95: float


class Fitted(NamedTuple):
    """The coefficients of the terms, and how the steps differ from the fit."""

    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    prefill_factors: tuple[float, ...]
    decode_factors: tuple[float, ...]
    wake_factors: tuple[float, ...]
    residuals: dict[str, Residuals]


def fitted(steps: Steps) -> Fitted:
    """Fit coefficients to steps, robustly, so that no step is left out and none dominates.

    c = argmin Σ wᵢ (1 − tᵢ(c) / yᵢ)², c ≥ 0, where tᵢ is the fitted and yᵢ the measured time of
    step i, and wᵢ = min(1, k / |zᵢ|) with zᵢ the residual in robust standard deviations and
    k = 1.345 (Huber, Robust Estimation of a Location Parameter, 1964), by iterated weights. Then
    the coefficients of each kind are scaled, so that its fitted and measured times have the same
    sum. Prefill steps after an idle time are slower (caches and clocks of the processor): if there
    are enough of them, they are left out of that sum and have factors of their own.
    """
    steps = steps.where(steps.seconds > 0)
    terms = basis.terms(steps)
    coefficients = _robust(terms, steps.seconds)
    prefill, decode = np.split(coefficients, [len(basis.PREFILL)])
    woken = steps.after_wait & (steps.rows == 0)
    busy = (steps.prefills > 0) & (steps.rows == 0) & ~woken
    if min(woken.sum(), busy.sum()) < FEWEST_APART:
        busy, woken = busy | woken, np.zeros_like(woken)
    scale, factors = _scaled(terms[:, : len(prefill)] @ prefill, steps.seconds, busy)
    decode_scale, decode_factors = _scaled(
        terms[:, len(prefill) :] @ decode, steps.seconds, steps.decodes
    )
    wake_factors = steps.seconds[woken] / (terms[woken, : len(prefill)] @ prefill * scale)
    return Fitted(
        prefill=tuple((prefill * scale).tolist()),
        decode=tuple((decode * decode_scale).tolist()),
        prefill_factors=tuple(factors.tolist()),
        decode_factors=tuple(decode_factors.tolist()),
        wake_factors=tuple(wake_factors.tolist()),
        residuals={"prefill": _residuals(factors), "decode": _residuals(decode_factors)},
    )


def _scaled(times: Floats, seconds: Floats, chosen: Flags) -> tuple[float, Floats]:
    """Return the scale of fitted times with the sum of the measured ones, and the ratios then."""
    if not chosen.any():
        return 1.0, np.ones(1)
    scale = float(seconds[chosen].sum() / times[chosen].sum())
    ratios: Floats = seconds[chosen] / (times[chosen] * scale)
    return scale, ratios


def _robust(terms: Floats, seconds: Floats) -> Floats:
    relative = terms / seconds[:, None]
    weights = np.ones(len(seconds))
    coefficients = np.zeros(terms.shape[1])
    for _ in range(ROUNDS):
        before = coefficients
        coefficients, _ = nnls(relative * weights[:, None], weights)
        error = 1 - relative @ coefficients
        std = MAD_TO_STD * np.median(np.abs(error)) or 1.0
        weights = np.sqrt(np.minimum(1, HUBER * std / np.maximum(np.abs(error), 1e-300)))
        if np.allclose(before, coefficients, rtol=1e-6):
            break
    return coefficients


def _residuals(ratios: Floats) -> Residuals:
    errors = np.abs(ratios - 1)
    middle, high = np.percentile(errors, [50, 95]).tolist()
    return Residuals(float(np.sqrt(np.mean(errors**2))), middle, high)
