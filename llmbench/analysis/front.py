"""The Pareto front of cases by two metrics, as far as their intervals support it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from llmbench.analysis.values import Estimate

Better = Literal["lower", "higher"]
Standing = Literal["on the front", "dominated", "undecided", "unknown"]
Pair = tuple[Estimate, Estimate]


def is_beaten(one: Estimate, other: Estimate, better: Better) -> bool:
    """Return whether an estimate's interval is known and lies entirely on the worse side.

    Without an interval, nothing is beaten.
    """
    worse, best = (one, other) if better == "higher" else (other, one)
    return worse.high is not None and best.low is not None and worse.high < best.low


def standings(cases: Mapping[str, Pair], ways: tuple[Better, Better]) -> dict[str, Standing]:
    """Return where each case stands by its estimates of two metrics.

    A case is dominated if another is better in both beyond the intervals, on the front if no other
    has better figures, and otherwise undecided. ``ways`` are the better directions of the metrics.
    """
    known = {case: pair for case, pair in cases.items() if None not in [e.value for e in pair]}
    return {case: _standing(case, known, ways) for case in cases}


def _standing(case: str, known: Mapping[str, Pair], ways: tuple[Better, Better]) -> Standing:
    if case not in known:
        return "unknown"
    others = [pair for other, pair in known.items() if other != case]
    if any(_beats(other, known[case], ways) for other in others):
        return "dominated"
    ahead = any(_has_better_figures(other, known[case], ways) for other in others)
    return "undecided" if ahead else "on the front"


def _beats(one: Pair, other: Pair, ways: tuple[Better, Better]) -> bool:
    return all(is_beaten(o, m, way) for o, m, way in zip(other, one, ways, strict=True))


def _has_better_figures(one: Pair, other: Pair, ways: tuple[Better, Better]) -> bool:
    signs = [1.0 if way == "higher" else -1.0 for way in ways]
    gains = [
        sign * ((o.value or 0.0) - (m.value or 0.0))
        for sign, o, m in zip(signs, one, other, strict=True)
    ]
    return min(gains) >= 0 and max(gains) > 0
