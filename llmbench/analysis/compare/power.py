"""The power of the gate: its detection rate of simulated changes, and its false-alarm rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from llmbench.analysis.compare.verdicts import STAGES, Block, confirm, in_blocks, is_suspect
from llmbench.analysis.stats import Floats

# samples logarithms of a metric, one per process
Draw = Callable[[np.random.Generator, int], Floats]


def _normal(rng: np.random.Generator, count: int) -> Floats:
    return rng.normal(0, 0.01, count)


def _heavy_tailed(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.standard_t(3, count) * 0.01 / 3**0.5)


def _outliers(rng: np.random.Generator, count: int) -> Floats:
    slow = rng.binomial(1, 0.1, count) * rng.uniform(0.1, 0.3, count)
    return np.asarray(rng.normal(0, 0.01, count) + slow)


def _bimodal(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.normal(0, 0.005, count) + rng.binomial(1, 0.5, count) * 0.03)


# distributions over processes, each with a suitable tolerance: a standard deviation of 1 %,
# Student's t (3 degrees), one process in ten slower by 10 to 30 %, two modes 3 % apart
NOISES: dict[str, tuple[Draw, float]] = {
    "normal": (_normal, 0.03),
    "heavy-tailed": (_heavy_tailed, 0.03),
    "outliers": (_outliers, 0.03),
    "bimodal": (_bimodal, 0.05),
}


def detection_rate(
    draw: Draw,
    effect: float,
    tolerance: float,
    repetitions: int,
    *,
    screen: int = 4,
    pairs: int = 8,
    seed: int = 0,
) -> float:
    """Return the fraction of checks that report a regression if a metric is worse by ``effect``."""
    rng = np.random.default_rng(seed)

    def sides(count: int) -> tuple[list[float], list[float]]:
        baseline, candidate = np.exp(draw(rng, count)), (1 + effect) * np.exp(draw(rng, count))
        return baseline.tolist(), candidate.tolist()

    detected = sum(
        is_detected(sides(screen), (sides(pairs) for _ in range(STAGES)), tolerance)
        for _ in range(repetitions)
    )
    return detected / repetitions


def is_detected(screen: Block, stages: Iterable[Block], tolerance: float) -> bool:
    """Return whether the gate reports a regression, given the values of its screen and stages."""
    if not is_suspect(*screen, "lower", tolerance):
        return False
    baseline: list[float] = []
    candidate: list[float] = []
    for more_baseline, more_candidate in stages:
        baseline += more_baseline
        candidate += more_candidate
        confirmation, _ = confirm(in_blocks(baseline, candidate), "lower", tolerance)
        if confirmation != "open":
            return confirmation == "confirmed"
    return False
