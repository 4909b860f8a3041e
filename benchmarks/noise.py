"""Simulated noise between processes, as logarithms of a metric, for coverage.py and claims.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = tuple[int, ...]

# samples logarithms of a metric; their mean is 0
Draw = Callable[[np.random.Generator, Shape], Floats]


def normal(rng: np.random.Generator, shape: Shape) -> Floats:
    """A standard deviation of 5 %."""
    return rng.normal(0, 0.05, shape)


def lognormal(rng: np.random.Generator, shape: Shape) -> Floats:
    """Lognormal with sigma 0.5: one value in six is more than 1.6 times the median."""
    return rng.normal(0, 0.5, shape)


def heavy_tailed(rng: np.random.Generator, shape: Shape) -> Floats:
    """Student's t with 3 degrees of freedom and a standard deviation of 5 %."""
    return np.asarray(rng.standard_t(3, shape) * 0.05 / 3**0.5)


def two_modes(rng: np.random.Generator, shape: Shape) -> Floats:
    """Two modes 3 % apart, 0.5 % around each."""
    return np.asarray(rng.normal(0, 0.005, shape) + 0.03 * (rng.binomial(1, 0.5, shape) - 0.5))


def far_modes(rng: np.random.Generator, shape: Shape) -> Floats:
    """Two modes of which one is 2.2 times the other, 0.5 % around each."""
    return np.asarray(rng.normal(0, 0.005, shape) + 0.8 * (rng.binomial(1, 0.5, shape) - 0.5))


def outliers(rng: np.random.Generator, shape: Shape) -> Floats:
    """1 %, and one process in ten is slower by 10 to 30 % (0.02 on average)."""
    slow = rng.binomial(1, 0.1, shape) * rng.uniform(0.1, 0.3, shape)
    return np.asarray(rng.normal(0, 0.01, shape) + slow - 0.02)


NOISES: dict[str, Draw] = {
    "normal, 5 %": normal,
    "lognormal, sigma 0.5": lognormal,
    "heavy-tailed (t, 3 degrees), 5 %": heavy_tailed,
    "two modes, 3 % apart": two_modes,
    "two modes, a factor of 2.2 apart": far_modes,
    "one process in ten 10 to 30 % slower": outliers,
}


# -- the state of the machine, from one process to the next ----------------------------------------


def drift(rng: np.random.Generator, shape: Shape) -> Floats:
    """A random walk of 1.5 % per process."""
    return rng.normal(0, 0.015, shape).cumsum(axis=-1)


def trend(rng: np.random.Generator, shape: Shape) -> Floats:
    """1 % slower with every process."""
    del rng
    return np.broadcast_to(0.01 * np.arange(shape[-1]), shape)


def slow_spell(rng: np.random.Generator, shape: Shape) -> Floats:
    """One stretch of up to half of the processes in which everything takes 1.5 times as long."""
    *many, processes = shape
    begin = rng.integers(0, processes, (*many, 1))
    length = rng.integers(1, max(2, processes // 2 + 1), (*many, 1))
    number = np.arange(processes)
    return np.where((number >= begin) & (number < begin + length), np.log(1.5), 0.0)


MACHINES: dict[str, Draw] = {
    "random walk, 1.5 % per process": drift,
    "trend, 1 % per process": trend,
    "slow spell, factor 1.5": slow_spell,
}
