"""Tests to confirm a suspicion, compared on simulated and on real noise.

    python benchmarks/confirmation_tests.py --checks 500
    python benchmarks/confirmation_tests.py --campaign results/aa --metric tpot_p50

A check is a confirmation in stages of 8 pairs, each in a random order. The table has the share in
which a true change is called worse than the tolerance. The processes of a campaign (`llmbench aa`)
are used in the order in which they ran: each check is a stretch of them, with what the machine did.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import stats

from llmbench.analysis.compare.confirmation import ALPHAS, p_of_swaps
from llmbench.analysis.compare.power import NOISES
from llmbench.analysis.compare.verdicts import mann_whitney_p
from llmbench.analysis.metrics import summarize
from llmbench.analysis.stats import Floats
from llmbench.runs import store

Test = Callable[[Floats, Floats], float]
EFFECTS = (0.0, 0.03, 0.05, 0.06, 0.08, 0.10, 0.15, 0.20)
PAIRS = 8
COUNT = 2 * len(ALPHAS) * PAIRS

TESTS: dict[str, Test] = {
    "swaps of pairs, on ranks (used)": p_of_swaps,
    "signed ranks of pairs": lambda a, b: float(
        stats.wilcoxon(b - a, alternative="greater").pvalue
    ),
    "t of pairs": lambda a, b: float(stats.ttest_rel(b, a, alternative="greater").pvalue),
    "ranks of all": mann_whitney_p,
    "Welch's t": lambda a, b: float(
        stats.ttest_ind(b, a, equal_var=False, alternative="greater").pvalue
    ),
}


def is_called(test: Test, pairs: Floats, effect: float, tolerance: float) -> bool:
    """Return whether a test confirms, in stages, a change of the second process of each pair."""
    baseline, candidate = pairs[:, 0] + math.log1p(tolerance), pairs[:, 1] + math.log1p(effect)
    stages = enumerate(ALPHAS, start=1)
    return any(test(baseline[: n * PAIRS], candidate[: n * PAIRS]) <= alpha for n, alpha in stages)


def simulated(checks: int) -> Iterator[tuple[str, float, list[Floats]]]:
    """Yield stretches of processes for every kind of noise."""
    for name, (draw, tolerance) in NOISES.items():
        rng = np.random.default_rng(0)
        yield name, tolerance, [draw(rng, COUNT) for _ in range(checks)]


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
    stretches = [values[i : i + COUNT] for i in range(len(values) - COUNT + 1)]
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
    rng = np.random.default_rng(1)
    for noise, tolerance, stretches in noises:
        checks = [rng.permuted(stretch.reshape(-1, 2), axis=1) for stretch in stretches]
        for name, test in TESTS.items():
            shares = (
                np.mean([is_called(test, pairs, effect, tolerance) for pairs in checks])
                for effect in EFFECTS
            )
            row = " | ".join(f"{share:.2f}" for share in shares)
            print(f"| {noise} | {tolerance:.0%} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
