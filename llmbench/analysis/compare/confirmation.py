"""Whether new processes confirm a suspected regression, from one value per process and side.

Both sides are measured in pairs: one process of each, one right after the other, in an order drawn
at random. If nothing changed, both orders of a pair's two values are equally likely, whatever the
machine does meanwhile. The test counts these orders, so trends, slow spells and noise cannot make
it err more often than stated. docs/statistics.md explains the method and its error rates.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import scipy  # imports scipy.stats lazily

from llmbench.analysis.compare.verdicts import (
    CONFIDENCE,
    Better,
    Change,
    Outcome,
    Verdict,
    benjamini_hochberg,
    mann_whitney_p,
    oriented_logs,
    repeats_for,
    robust_std,
)
from llmbench.analysis.stats import Floats

State = Literal["confirmed", "cleared", "open"]

# of the stages of a confirmation, 1 % in all; the lowest p of 8 pairs is 1/256 = 0.0039
ALPHAS = (0.004, 0.003, 0.003)
CLEARED_ALPHA = 0.05
SUSPECT_SHARE, CLEARED_SHARE = 0.75, 0.5  # of the tolerance
OUTCOMES: dict[State, Outcome] = {"confirmed": "regression", "open": "undecided"}


@dataclass(frozen=True, slots=True)
class Sides:
    """A metric's values on both sides, as logarithms that are greater if worse.

    ``paired``: values of equal index are a pair. A stored baseline has no pairs.
    """

    baseline: Floats
    candidate: Floats
    better: Better
    tolerance: float
    paired: bool

    @classmethod
    def of(
        cls,
        baseline: Sequence[float],
        candidate: Sequence[float],
        better: Better,
        tolerance: float,
        *,
        paired: bool,
    ) -> Sides:
        """Return the sides of positive values, one per process."""
        return cls(*oriented_logs(baseline, candidate, better), better, tolerance, paired)

    @property
    def allowed(self) -> float:
        """The tolerance as a logarithm."""
        return math.log1p(self.tolerance)

    @property
    def shift(self) -> float:
        """The estimated change for the worse, as a logarithm: the median over pairs, if paired."""
        return float(np.median(self._of_pairs)) if self.paired else self.unpaired_shift

    @property
    def unpaired_shift(self) -> float:
        """The median of all differences between a candidate and a baseline process.

        Source: Hodges and Lehmann, 1963.
        """
        return float(np.median(np.subtract.outer(self.candidate, self.baseline)))

    @property
    def _of_pairs(self) -> Floats:
        return self.candidate - self.baseline

    def p_worse(self, than: float) -> float:
        """Return the one-sided p-value for a change that is worse than ``than``, a logarithm."""
        return self._p(self.baseline + than, self.candidate)

    def p_better(self, than: float) -> float:
        """Return the one-sided p-value for a change that is better than ``than``, a logarithm."""
        return self._p(self.candidate, self.baseline + than)

    def _p(self, lower: Floats, higher: Floats) -> float:
        return p_of_swaps(lower, higher) if self.paired else mann_whitney_p(lower, higher)

    @property
    def change(self) -> Change:
        """The estimated change; its interval has all changes that the test does not reject."""
        low, high = self._interval()
        shifts = (self.shift, low, high) if self.better == "lower" else (-self.shift, -high, -low)
        return Change(*map(math.exp, shifts))

    def _interval(self) -> tuple[float, float]:
        """Return the ends of the shifts that are not rejected; infinite with too few processes.

        The p-values change only where a shifted baseline process passes a candidate process.
        """
        level = (1 - CONFIDENCE) / 2
        if self.p_worse(-math.inf) > level:
            return -math.inf, math.inf
        points = np.sort(np.subtract.outer(self.candidate, self.baseline).ravel()).tolist()
        between = [(one + other) / 2 for one, other in pairwise(points)]
        low = bisect_right(between, level, key=self.p_worse)
        high = bisect_left(between, -level, key=lambda shift: -self.p_better(shift))
        return points[low], points[high]

    @property
    def noise(self) -> float:
        """The robust standard deviation between processes; with pairs, between adjacent ones."""
        if self.paired:
            return robust_std(self._of_pairs - self.shift) / math.sqrt(2)
        stds = [robust_std(side - np.median(side)) for side in (self.baseline, self.candidate)]
        return math.hypot(*stds) / math.sqrt(2)


def p_of_swaps(lower: Floats, higher: Floats) -> float:
    """Return the exact one-sided p-value for greater values in ``higher``, by pairs.

    All values are ranked together. The sum of the ranks of ``higher`` is compared with its
    distribution over all 2ⁿ ways to swap the values within the n pairs (Fisher, The Design of
    Experiments, 1935; on ranks: Conover and Iman, 1981).
    """
    ranks = np.rint(2 * scipy.stats.rankdata([*lower, *higher])).astype(int)  # with ties, integers
    gains = ranks[len(lower) :] - ranks[: len(lower)]
    sizes = np.abs(gains)
    ways = np.zeros(sizes.sum() + 1)
    ways[0] = 1
    for size in sizes:
        ways[size:] += ways[: len(ways) - size].copy()
    return float(ways[gains[gains > 0].sum() :].sum() / ways.sum())


def is_suspect(sides: Sides) -> bool:
    """Return whether the screen suspects a regression, which new processes then confirm or clear.

    It does if the change for the worse, by pairs or not, exceeds three quarters of the tolerance,
    or if the best candidate process is worse than the best baseline process by more than it.
    """
    best = float(sides.candidate.min() - sides.baseline.min())
    shift = max(sides.shift, sides.unpaired_shift)
    return shift > SUSPECT_SHARE * sides.allowed or best > sides.allowed


def confirm(suspects: Sequence[Sides], alpha: float, cleared: int = 0) -> list[tuple[State, float]]:
    """Return whether new processes confirm or clear each suspected regression, with its p-value.

    Confirmed: worse than the tolerance at a false discovery rate of ``alpha`` over all suspects,
    ``cleared`` of which are no longer in question. Cleared: worse by at most half the tolerance, or
    better than the tolerance at 5 %. Otherwise open.
    """
    ps = [sides.p_worse(sides.allowed) for sides in suspects]
    significant = benjamini_hochberg([*ps, *[1.0] * cleared], alpha)
    return [
        ("confirmed" if confirmed else "cleared" if _is_cleared(sides) else "open", p)
        for sides, p, confirmed in zip(suspects, ps, significant, strict=False)
    ]


def _is_cleared(sides: Sides) -> bool:
    small = sides.shift <= CLEARED_SHARE * sides.allowed
    return small or sides.p_better(sides.allowed) <= CLEARED_ALPHA


def verdict_of(sides: Sides, state: State, p: float) -> Verdict:
    """Return the verdict on a suspected metric from its new processes.

    A suspicion that is still open is undecided. A cleared metric is equivalent if it is neither
    worse nor better than the tolerance, each at 5 %, and otherwise inconclusive.
    """
    verdict = Verdict(OUTCOMES.get(state, "inconclusive"), sides.change, sides.tolerance, p)
    if state == "open":
        return replace(verdict, reason=_why_open(sides), repeats=_repeats(sides))
    within = (sides.p_better(sides.allowed), sides.p_worse(-sides.allowed))
    if state == "cleared" and max(within) <= CLEARED_ALPHA:
        return replace(verdict, outcome="equivalent")
    return verdict


def _why_open(sides: Sides) -> str:
    return (
        f"{len(sides.candidate)} new processes neither confirm nor rule out a regression, with "
        f"{100 * sides.noise:.1f} % noise between processes"
    )


def _repeats(sides: Sides) -> int | None:
    """Estimate how many processes per side would decide an open suspicion."""
    distance = abs(sides.shift - sides.allowed)
    return repeats_for(2 * sides.noise**2, distance, len(sides.candidate) + 1)
