"""How often the gate errs, by letting it judge nights whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.compare.verdicts import STAGES, confirm, in_blocks, is_suspect

Floats = NDArray[np.float64]
# draws logarithms of a metric, one a process
Draw = Callable[[np.random.Generator, int], Floats]


def _normal(draws: np.random.Generator, count: int) -> Floats:
    return draws.normal(0, 0.01, count)


def _heavy_tailed(draws: np.random.Generator, count: int) -> Floats:
    return np.asarray(draws.standard_t(3, count) * 0.01 / sqrt(3))


def _outliers(draws: np.random.Generator, count: int) -> Floats:
    slow = draws.binomial(1, 0.1, count) * draws.uniform(0.1, 0.3, count)
    return np.asarray(draws.normal(0, 0.01, count) + slow)


def _bimodal(draws: np.random.Generator, count: int) -> Floats:
    return np.asarray(draws.normal(0, 0.005, count) + draws.binomial(1, 0.5, count) * 0.03)


# ways in which processes differ, each with a tolerance that suits it: a standard deviation of 1 %,
# Student's t of 3 degrees, one process in ten slower by 10 to 30 %, two modes 3 % apart
NOISES: dict[str, tuple[Draw, float]] = {
    "normal": (_normal, 0.03),
    "heavy-tailed": (_heavy_tailed, 0.03),
    "outliers": (_outliers, 0.03),
    "bimodal": (_bimodal, 0.05),
}


def called(
    draw: Draw,
    effect: float,
    tolerance: float,
    nights: int,
    *,
    screen: int = 4,
    pairs: int = 8,
    seed: int = 0,
) -> float:
    """Give the share of nights in which a metric that is worse by ``effect`` is called worse."""
    draws = np.random.default_rng(seed)

    def sides(count: int) -> tuple[list[float], list[float]]:
        ours, theirs = np.exp(draw(draws, count)), (1 + effect) * np.exp(draw(draws, count))
        return ours.tolist(), theirs.tolist()

    return sum(_is_called(sides, tolerance, screen, pairs) for _ in range(nights)) / nights


def _is_called(
    sides: Callable[[int], tuple[list[float], list[float]]],
    tolerance: float,
    screen: int,
    pairs: int,
) -> bool:
    if not is_suspect(*sides(screen), "lower", tolerance):
        return False
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(STAGES):
        more = sides(pairs)
        ours, theirs = ours + more[0], theirs + more[1]
        found, _ = confirm(in_blocks(ours, theirs), "lower", tolerance)
        if found != "open":
            return found == "confirmed"
    return False


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Give the interval of a share from so many hits, 95 % for a z of 1.96 (Wilson, 1927)."""
    share, weight = hits / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
