"""Tests to confirm a suspicion, compared on simulated and on real noise.

    python benchmarks/confirmation_tests.py --checks 1000
    python benchmarks/confirmation_tests.py --campaign results/aa --metric tpot_p50

A check is a confirmation in stages of 8 interleaved pairs (ABBA). The table has the share in which
a true change is called worse than the tolerance. The processes of a campaign (`llmbench aa`) are
used in the order in which they ran: each check is a stretch of them, with the drift of the machine.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
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
from llmbench.analysis.stats import Floats
from llmbench.runs import store

Test = Callable[[Floats, Floats], float]
EFFECTS = (0.0, 0.03, 0.05, 0.06, 0.08, 0.10, 0.15, 0.20)
PAIRS = 8


def aligned(size: int, baseline: Floats, candidate: Floats) -> float:
    """Return the p of aligned ranks in blocks of ``size`` pairs."""
    starts = range(0, len(baseline), size)
    return p_in_blocks([(baseline[i : i + size], candidate[i : i + size]) for i in starts])


TESTS: dict[str, Test] = {
    "aligned ranks, blocks of 4 (used)": partial(aligned, BLOCK),
    "aligned ranks, blocks of 2": partial(aligned, 2),
    "ranks of all": mann_whitney_p,
    "signed ranks of pairs": lambda a, b: float(
        stats.wilcoxon(b - a, alternative="greater").pvalue
    ),
    "Welch's t": lambda a, b: float(
        stats.ttest_ind(b, a, equal_var=False, alternative="greater").pvalue
    ),
}


def is_called(test: Test, stretch: Floats, effect: float, tolerance: float) -> bool:
    """Return whether a test confirms, in stages, a change added to every other process (ABBA)."""
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


def simulated(checks: int) -> Iterator[tuple[str, float, list[Floats]]]:
    """Yield stretches of processes for every kind of noise, and for a machine that drifts."""
    count = 2 * STAGES * PAIRS
    for name, (draw, tolerance) in NOISES.items():
        rng = np.random.default_rng(0)
        yield name, tolerance, [draw(rng, count) for _ in range(checks)]
    rng = np.random.default_rng(0)
    drifting = [
        rng.normal(0, 0.015, count).cumsum() + rng.normal(0, 0.01, count) for _ in range(checks)
    ]
    yield "drift of 1.5 % per process", 0.03, drifting


def measured(
    folder: Path, metric: str, tolerance: float
) -> Iterator[tuple[str, float, list[Floats]]]:
    """Yield every stretch of the processes of a campaign that had no delay."""
    runs = [
        run
        for path in sorted(folder.glob("equal/*/*/runset.json"))
        for run in store.read(path.parent).runs
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
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--campaign", type=Path, help="a folder of `llmbench aa`")
    parser.add_argument("--metric", default="tpot_p50", help="a metric where lower is better")
    parser.add_argument("--tolerance", type=float, default=0.05)
    given = parser.parse_args()
    noises = (
        measured(given.campaign, given.metric, given.tolerance)
        if given.campaign
        else simulated(given.checks)
    )
    print("| noise | tolerance | test |", " | ".join(f"{effect:.0%}" for effect in EFFECTS), "|")
    print("|---|---|---|", "---|" * len(EFFECTS))
    for noise, tolerance, stretches in noises:
        for name, test in TESTS.items():
            shares = (
                np.mean([is_called(test, stretch, effect, tolerance) for stretch in stretches])
                for effect in EFFECTS
            )
            row = " | ".join(f"{share:.2f}" for share in shares)
            print(f"| {noise} | {tolerance:.0%} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
