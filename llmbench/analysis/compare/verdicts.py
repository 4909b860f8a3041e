"""Whether a metric changed: rules on one value a process, in pure functions.

Everything is done on logarithms and ranks: the change is the Hodges-Lehmann estimate (the median of
all ratios between a candidate and a baseline process), its interval inverts the exact test of Mann
and Whitney, so that a few processes that met a bad moment move neither. What is measured in turn is
ranked within blocks of pairs, so that a machine that drifts does not either. docs/statistics.md has
the method in plain words, and how often it errs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Outcome = Literal[
    "regression", "improvement", "equivalent", "inconclusive", "environment", "not comparable"
]
Better = Literal["lower", "higher"]
Look = Literal["confirmed", "cleared", "open"]
Block = tuple[Sequence[float], Sequence[float]]

CONFIDENCE = 0.95
ALPHA, STAGES = 0.01, 3  # of a confirmation, all of its stages together
BLOCK = 4  # pairs that are ranked beside each other
SUSPECT_SHARE = 0.75
FEWEST, MOST_REPEATS = 4, 200


@dataclass(frozen=True, slots=True)
class Change:
    """The ratio of candidate to baseline, with its interval at some confidence.

    An end is 0 or infinity where there are too few processes for it.
    """

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_percent(self.ratio)} ({_percent(self.low)} to {_percent(self.high)})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a metric of a case.

    ``change`` is None where a side has no value. ``p`` is that of a change beyond the tolerance,
    either way;
    ``repeats`` how many processes a side would settle what is inconclusive, None where more than
    MOST_REPEATS would be needed or nothing is open.
    """

    outcome: Outcome
    change: Change | None
    tolerance: float
    p: float | None = None
    repeats: int | None = None
    reason: str = ""


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %" if 0 < ratio < math.inf else "?"


# -- ranks -----------------------------------------------------------------------------------------


@cache
def _chances(m: int, n: int) -> NDArray[np.float64]:
    """Give the chances of U = 0 to m·n for two samples of one kind (Mann and Whitney, 1947).

    The counts are the coefficients of the Gaussian binomial, the product of (1 - q^(n+i)) / (1 -
    q^i) over i = 1 to m: multiplied and divided in place, in whole numbers.
    """
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for place in range(m * n, n + i - 1, -1):
            counts[place] -= counts[place - n - i]
        for place in range(i, m * n + 1):
            counts[place] += counts[place - i]
    whole = math.comb(m + n, m)
    return np.array([count / whole for count in counts])


def mann_whitney_p(baseline: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    """Give the exact one-sided p of the candidate being greater (Mann, Whitney, 1947).

    Ties count against it.
    """
    at_most = int((candidate[:, None] <= baseline).sum())
    chances = _chances(len(candidate), len(baseline))
    return float(min(1.0, chances[: at_most + 1].sum()))


def p_of_shift(baseline: Sequence[float], candidate: Sequence[float]) -> float:
    """Give the exact two-sided p of one side being greater than the other (Mann, Whitney, 1947)."""
    a, b = (np.asarray(side, dtype=np.float64) for side in (baseline, candidate))
    return min(1.0, 2 * min(mann_whitney_p(a, b), mann_whitney_p(b, a)))


def p_in_blocks(blocks: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    """Give the exact one-sided p of the candidate being greater, by aligned ranks.

    From every value the median of its block is taken; then all are ranked together, and the sum of
    the candidate's ranks is held against all ways of naming sides within the blocks (Hodges and
    Lehmann, 1962). One block alone is the test of Mann and Whitney.
    """
    together = [np.concatenate(block) for block in blocks]
    centred = np.concatenate([values - np.median(values) for values in together])
    ends = np.cumsum([len(values) for values in together])
    places = np.split(np.rint(2 * _midranks(centred)).astype(int), ends[:-1])
    named = [(ranks, len(ours)) for ranks, (ours, _) in zip(places, blocks, strict=True)]
    seen = sum(int(ranks[ours:].sum()) for ranks, ours in named)
    chances = [_chances_of_sums(ranks, len(ranks) - ours) for ranks, ours in named]
    return float(min(1.0, reduce(np.convolve, chances)[seen:].sum()))


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank from 1; equal values share the middle of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return middles[places]


def _chances_of_sums(ranks: NDArray[np.int_], chosen: int) -> NDArray[np.float64]:
    """Give the chance of every sum that so many of these ranks can have."""
    ways = np.zeros((chosen + 1, int(ranks.sum()) + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank]
    counted: NDArray[np.float64] = ways[chosen] / ways[chosen].sum()
    return counted


def _ends(m: int, n: int, confidence: float) -> int:
    """Count the differences beyond either end of an interval; -1 where there is none."""
    below = np.cumsum(_chances(m, n))
    return int(np.searchsorted(below, (1 - confidence) / 2, "right")) - 1


def change_of(
    baseline: Sequence[float], candidate: Sequence[float], confidence: float = CONFIDENCE
) -> Change:
    """Estimate the ratio of candidate to baseline processes, with its interval.

    Raises ValueError where a side is empty or a value is not above 0.
    """
    a, b = _logs(baseline), _logs(candidate)
    ratios = np.sort(np.subtract.outer(b, a).ravel())
    beyond = _ends(len(b), len(a), confidence)
    low, high = (
        (float(ratios[beyond]), float(ratios[-1 - beyond]))
        if beyond >= 0
        else (-math.inf, math.inf)
    )
    return Change(math.exp(float(np.median(ratios))), math.exp(low), math.exp(high))


def _logs(values: Sequence[float]) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if not len(found) or not (found > 0).all():
        raise ValueError(f"expected values above 0, one a process, got {list(values)}")
    logs: NDArray[np.float64] = np.log(found)
    return logs


# -- rules -----------------------------------------------------------------------------------------


def oriented_logs(
    baseline: Sequence[float], candidate: Sequence[float], better: Better
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn both sides into logarithms that are greater where things are worse."""
    sign = 1.0 if better == "lower" else -1.0
    return sign * _logs(baseline), sign * _logs(candidate)


def decide(
    baseline: Sequence[float], candidate: Sequence[float], better: Better, tolerance: float
) -> Verdict:
    """Judge a metric from the processes there are, none to be had besides.

    Regression or improvement: the 95 % interval is beyond the tolerance; equivalent: the 90 % one
    is within it (two one-sided tests); else inconclusive.
    """
    change = change_of(baseline, candidate)
    a, b = oriented_logs(baseline, candidate, better)
    allowed = math.log1p(tolerance)
    worse, improved = mann_whitney_p(a + allowed, b), mann_whitney_p(b + allowed, a)
    told = Verdict("inconclusive", change, tolerance, min(1.0, 2 * min(worse, improved)))
    if worse <= (1 - CONFIDENCE) / 2:
        return replace(told, outcome="regression")
    if improved <= (1 - CONFIDENCE) / 2:
        return replace(told, outcome="improvement")
    within = change_of(baseline, candidate, 2 * CONFIDENCE - 1)
    if 1 / (1 + tolerance) < within.low and within.high < 1 + tolerance:
        return replace(told, outcome="equivalent")
    return replace(told, repeats=repeats_needed(a, b, allowed))


def repeats_needed(a: NDArray[np.float64], b: NDArray[np.float64], allowed: float) -> int | None:
    """Guess how many processes a side, more than there are, would settle a metric.

    None where that is more than MOST_REPEATS.

    By the normal approximation with 80 % power at 2.5 %, n = 2 (1.96 + 0.84)² s² / d² / 0.955 (the
    efficiency of ranks), with d the distance of the change from the nearer tolerance and s from the
    median absolute deviation.
    """
    spread = robust_std(np.concatenate([a - np.median(a), b - np.median(b)]))
    shift = abs(float(np.median(np.subtract.outer(b, a))))
    distance = abs(allowed - shift)
    if distance == 0:
        return None
    needed = math.ceil(2 * (1.96 + 0.84) ** 2 * (spread / distance) ** 2 / 0.955)
    least = max(FEWEST, min(len(a), len(b)) + 1)
    return max(least, needed) if needed <= MOST_REPEATS else None


def robust_std(centred: NDArray[np.float64]) -> float:
    """Estimate a standard deviation from values around 0, whatever a few of them do."""
    return 1.4826 * float(np.median(np.abs(centred)))


def is_suspect(
    baseline: Sequence[float], candidate: Sequence[float], better: Better, tolerance: float
) -> bool:
    """Tell whether a screen gives reason to look again with new processes.

    Where the change comes to three quarters of the tolerance, or the best candidate process is
    beyond the tolerance of the best baseline one. It may err: the confirmation decides.
    """
    a, b = oriented_logs(baseline, candidate, better)
    allowed = math.log1p(tolerance)
    shift = float(np.median(np.subtract.outer(b, a)))
    return shift > SUSPECT_SHARE * allowed or float(b.min() - a.min()) > allowed


def is_worse(
    baseline: Sequence[float], candidate: Sequence[float], better: Better, by: float
) -> bool:
    """Tell whether the change is estimated to be for the worse by more than a share."""
    a, b = oriented_logs(baseline, candidate, better)
    return float(np.median(np.subtract.outer(b, a))) > math.log1p(by)


def in_blocks(baseline: Sequence[float], candidate: Sequence[float]) -> list[Block]:
    """Split values that were measured in pairs, one pair after the other, into blocks of pairs."""
    pairs = range(0, max(len(baseline), len(candidate)), BLOCK)
    return [(baseline[at : at + BLOCK], candidate[at : at + BLOCK]) for at in pairs]


def confirm(blocks: Sequence[Block], better: Better, tolerance: float) -> tuple[Look, float]:
    """Tell whether new processes confirm a suspicion, clear it, or leave it open; give the p.

    ``blocks`` has values that were measured near each other, of baseline and candidate. Confirmed:
    the exact one-sided test of aligned ranks against the baseline made worse by the tolerance, at
    ALPHA shared out among the STAGES at which it may be looked at. Cleared: the change is no more
    than half of the tolerance.
    """
    sides = [oriented_logs(*block, better) for block in blocks if all(map(len, block))]
    p = p_in_blocks([(a + math.log1p(tolerance), b) for a, b in sides])
    if p <= ALPHA / STAGES:
        return "confirmed", p
    ours, theirs = ([value for block in blocks for value in block[side]] for side in (0, 1))
    return ("open" if is_worse(ours, theirs, better, tolerance / 2) else "cleared"), p


def benjamini_hochberg(ps: Sequence[float], rate: float = 0.05) -> list[bool]:
    """Tell which of several tests count at a false discovery rate (Benjamini, Hochberg, 1995)."""
    order = np.argsort(ps)
    ranked = np.asarray(ps, dtype=np.float64)[order]
    passing = np.flatnonzero(ranked <= rate * np.arange(1, len(ps) + 1) / len(ps))
    accepted = set(order[: passing[-1] + 1].tolist()) if len(passing) else set()
    return [place in accepted for place in range(len(ps))]
