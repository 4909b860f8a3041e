"""Simulated queues with known percentiles, for the benchmarks of statistical rules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sojourns(load: float, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Return times in M/M/1 queues that start empty: one row per queue, a mean service of 1.

    Wₙ = max(0, Wₙ₋₁ + sₙ₋₁ − aₙ), the time is Wₙ + sₙ (Lindley 1952), where s are services and a
    gaps between arrivals, both exponential; ``load`` is the rate of arrivals.
    """
    return lindley(rng.exponential(1 / load, shape), rng.exponential(1.0, shape))


def lindley(gaps: Floats, services: Floats) -> Floats:
    """Return times in a queue with one server from gaps before arrivals and service times."""
    steps = np.zeros_like(services)
    steps[:, 1:] = services[:, :-1] - gaps[:, 1:]
    walk = np.cumsum(steps, axis=1)
    times: Floats = walk - np.minimum.accumulate(walk, axis=1) + services
    return times


def mm1_percentile(load: float, percent: float) -> float:
    """Return a percentile of the time in a steady M/M/1 queue: −ln(1 − p) / (1 − ρ)."""
    return float(-np.log(1 - percent / 100) / (1 - load))
