"""Which test should confirm a suspicion: ours beside others, on simulated and on real noise.

    python benchmarks/confirmation_tests.py --nights 1000
    python benchmarks/confirmation_tests.py --campaign results/aa --metric tpot_p50

A night is a confirmation in stages of 8 pairs, measured in turn (ABBA); its share is how often
a true change is called worse than the tolerance. Of a campaign (`llmbench aa`) the processes are
taken in the order in which they ran: each night is a stretch of them, so that what the machine did
meanwhile is in it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from llmbench.analysis.compare.power import NOISES
from llmbench.analysis.compare.verdicts import (
    ALPHA,
    BLOCK,
    STAGES,
    is_worse,
    mann_whitney_p,
    p_in_blocks,
)
from llmbench.analysis.metrics import summarize
from llmbench.runs import store

Floats = NDArray[np.float64]
Test = Callable[[Floats, Floats], float]
EFFECTS = (0.0, 0.03, 0.05, 0.06, 0.08, 0.10, 0.15, 0.20)
PAIRS = 8


def ours(size: int, baseline: Floats, candidate: Floats) -> float:
    """Rank within blocks of so many pairs."""
    starts = range(0, len(baseline), size)
    return p_in_blocks([(baseline[i : i + size], candidate[i : i + size]) for i in starts])


TESTS: dict[str, Test] = {
    "aligned ranks, blocks of 4 (ours)": partial(ours, BLOCK),
    "aligned ranks, blocks of 2": partial(ours, 2),
    "ranks of all": mann_whitney_p,
    "signed ranks of pairs": lambda a, b: float(
        stats.wilcoxon(b - a, alternative="greater").pvalue
    ),
    "Welch's t": lambda a, b: float(
        stats.ttest_ind(b, a, equal_var=False, alternative="greater").pvalue
    ),
}


def called(test: Test, stretch: Floats, effect: float, tolerance: float) -> bool:
    """Confirm a change that is put into every other process, ABBA, in stages."""
    first, second = stretch[::2], stretch[1::2]
    swap = np.arange(len(first)) % 2 == 1
    baseline = np.where(swap, second, first)
    candidate = np.where(swap, first, second) + math.log1p(effect)
    for stage in range(1, STAGES + 1):
        a, b = baseline[: stage * PAIRS], candidate[: stage * PAIRS]
        if test(a + math.log1p(tolerance), b) <= ALPHA / STAGES:
            return True
        if not is_worse(np.exp(a).tolist(), np.exp(b).tolist(), "lower", tolerance / 2):
            return False
    return False


def simulated(nights: int) -> Iterator[tuple[str, float, list[Floats]]]:
    """Draw stretches of processes for every kind of noise, and for a machine that drifts."""
    count = 2 * STAGES * PAIRS
    for name, (draw, tolerance) in NOISES.items():
        draws = np.random.default_rng(0)
        yield name, tolerance, [draw(draws, count) for _ in range(nights)]
    draws = np.random.default_rng(0)
    drifting = [
        draws.normal(0, 0.015, count).cumsum() + draws.normal(0, 0.01, count) for _ in range(nights)
    ]
    yield "drift of 1.5 % a process", 0.03, drifting


def measured(
    folder: Path, metric: str, tolerance: float
) -> Iterator[tuple[str, float, list[Floats]]]:
    """Take every stretch of the processes of a campaign's nights without a delay."""
    runs = [
        run
        for found in sorted(folder.glob("equal/*/*/runset.json"))
        for run in store.read(found.parent).runs
        if not run.failure
    ]
    runs.sort(key=lambda run: run.began_at)
    values = np.log([summarize(run)[metric].value or math.nan for run in runs])
    count = 2 * STAGES * PAIRS
    stretches = [values[i : i + count] for i in range(len(values) - count + 1)]
    yield f"{metric}, {len(values)} processes", tolerance, stretches


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--campaign", type=Path, help="a folder of `llmbench aa`")
    parser.add_argument("--metric", default="tpot_p50", help="one that is better when lower")
    parser.add_argument("--tolerance", type=float, default=0.05)
    given = parser.parse_args()
    noises = (
        measured(given.campaign, given.metric, given.tolerance)
        if given.campaign
        else simulated(given.nights)
    )
    print("| noise | tolerance | test |", " | ".join(f"{effect:.0%}" for effect in EFFECTS), "|")
    print("|---|---|---|", "---|" * len(EFFECTS))
    for noise, tolerance, stretches in noises:
        for name, test in TESTS.items():
            shares = (
                np.mean([called(test, stretch, effect, tolerance) for stretch in stretches])
                for effect in EFFECTS
            )
            row = " | ".join(f"{share:.2f}" for share in shares)
            print(f"| {noise} | {tolerance:.0%} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
