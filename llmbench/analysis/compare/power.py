"""The power of the gate: how it decides where the truth is known, by simulation.

A simulated check is decided by the gate's own rules: screen, confirmation, and everything that
keeps a suspected regression from being called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmbench.analysis.compare.confirmation import ALPHAS, Sides, State, confirm, is_suspect
from llmbench.analysis.stats import Floats

# samples the logarithms of a metric, one per process, in the order in which they are measured
Draw = Callable[[np.random.Generator, int], Floats]


def normal(deviation: float) -> Draw:
    """Return independent normal noise with this relative standard deviation."""
    return lambda rng, count: rng.normal(0, deviation, count)


def _heavy_tailed(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.standard_t(3, count) * 0.01 / 3**0.5)


def _outliers(rng: np.random.Generator, count: int) -> Floats:
    slow = rng.binomial(1, 0.1, count) * rng.uniform(0.1, 0.3, count)
    return np.asarray(rng.normal(0, 0.01, count) + slow)


def _bimodal(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.normal(0, 0.005, count) + rng.binomial(1, 0.5, count) * 0.03)


def _trend(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.normal(0, 0.01, count) + 0.01 * np.arange(count))


def _random_walk(rng: np.random.Generator, count: int) -> Floats:
    return np.asarray(rng.normal(0, 0.015, count).cumsum() + rng.normal(0, 0.01, count))


def _slow_spells(rng: np.random.Generator, count: int) -> Floats:
    """A spell begins after 1 of 20 processes, slows 6 processes on average, each by 20 to 50 %."""
    ends = np.cumsum(rng.geometric([1 / 20, 1 / 6], (count, 2)))
    spell = np.searchsorted(ends, np.arange(count), "right")
    depth = np.log1p(rng.uniform(0.2, 0.5, 2 * count))
    return np.asarray(rng.normal(0, 0.01, count) + np.where(spell % 2, depth[spell], 0))


# noise between processes, each with the tolerance that it is simulated with
NOISES: dict[str, tuple[Draw, float]] = {
    "normal, 1 %": (normal(0.01), 0.03),
    "heavy-tailed (t, 3 degrees), 1 %": (_heavy_tailed, 0.03),
    "one process in ten 10 to 30 % slower": (_outliers, 0.03),
    "two modes, 3 % apart": (_bimodal, 0.05),
    "normal, 5 %": (normal(0.05), 0.05),
    "normal, 8.5 %": (normal(0.085), 0.05),
    "1 %, and a trend of 1 % per process": (_trend, 0.05),
    "1 %, and a random walk of 1.5 % per process": (_random_walk, 0.05),
    "slow spells: 6 processes, 20 to 50 % slower": (_slow_spells, 0.05),
}


@dataclass(frozen=True, slots=True)
class Design:
    """The processes of a simulated check: ``screen`` and then up to three times ``pairs``.

    ``stored`` is the number of processes of a stored baseline; 0 if it is measured, too.
    """

    screen: int = 4
    pairs: int = 8
    stored: int = 0

    @property
    def processes(self) -> int:
        """The largest number of candidate processes."""
        return self.screen + len(ALPHAS) * self.pairs


@dataclass(frozen=True, slots=True)
class Rates:
    """The share of checks that call a regression, and that of checks that stay undecided."""

    regression: float
    undecided: float


def rates(
    draw: Draw,
    effect: float,
    tolerance: float,
    checks: int,
    design: Design = Design(),
    *,
    metrics: int = 1,
    seed: int = 0,
) -> Rates:
    """Return how checks end in which each of some metrics is worse by ``effect``.

    The metrics of a check vary independently. A regression of any of them ends it as such.
    """
    rng = np.random.default_rng(seed)
    states = [
        outcomes([_measured(draw, effect, design, rng) for _ in range(metrics)], tolerance, design)
        for _ in range(checks)
    ]
    called = sum("confirmed" in check for check in states)
    undecided = sum("open" in check and "confirmed" not in check for check in states)
    return Rates(called / checks, undecided / checks)


def _measured(
    draw: Draw, effect: float, design: Design, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the logarithms of a baseline and of a candidate that is worse by ``effect``."""
    count, slower = design.processes, math.log1p(effect)
    if design.stored:
        return draw(rng, design.stored), draw(rng, count) + slower
    pairs = rng.permuted(draw(rng, 2 * count).reshape(count, 2), axis=1)
    return pairs[:, 0], pairs[:, 1] + slower


def outcomes(
    metrics: Sequence[tuple[Floats, Floats]], tolerance: float, design: Design = Design()
) -> list[State]:
    """Return how the gate decides each metric of a check, given the logarithms of both sides.

    Values are in the order of measurement, lower is better. Those of equal index are a pair, unless
    the baseline is stored. A metric that the screen does not suspect is cleared.
    """

    def sides(index: int, start: int, stop: int) -> Sides:
        baseline, candidate = metrics[index]
        chosen = baseline if design.stored else baseline[start:stop]
        return Sides(chosen, candidate[start:stop], "lower", tolerance, paired=not design.stored)

    states: list[State] = ["cleared"] * len(metrics)
    suspects = [n for n in range(len(metrics)) if is_suspect(sides(n, 0, design.screen))]
    still = suspects
    for stage, alpha in enumerate(ALPHAS, start=1):
        stop = design.screen + stage * design.pairs
        new = [sides(n, design.screen, stop) for n in still]
        cleared = sum(states[n] == "cleared" for n in suspects) if stage > 1 else 0
        for n, (state, _) in zip(still, confirm(new, alpha, cleared), strict=True):
            states[n] = state
        still = [n for n in still if states[n] == "open"]
    return states
