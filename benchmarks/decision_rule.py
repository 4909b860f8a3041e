"""Error rates of `llmbench check` in simulated checks: false alarms, and changes that it calls.

    python benchmarks/decision_rule.py --checks 1000

The checks are decided by the gate's own code: screen, confirmation, and every outcome that keeps a
suspected regression from being called. Noise is between processes;
llmbench/analysis/compare/power.py draws each kind. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from llmbench.analysis.compare.power import NOISES, Design, Rates, normal, rates

EFFECTS = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.15, 0.20, 0.30)
METRICS, STORED = 10, (3, 5, 8, 12)
ALARMS, FARTHER = 4, 0.20


def row(title: str, tolerance: float, found: Iterable[Rates]) -> None:
    """Print the shares of regressions and, if there are any, of undecided checks."""
    cells = [
        f"{each.regression:.3g}" + (f" ({each.undecided:.2g})" if each.undecided else "")
        for each in found
    ]
    print(f"| {title} | {tolerance:.0%} |", " | ".join(cells), "|", flush=True)


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=1000)
    checks = parser.parse_args().checks
    header = " | ".join(f"{effect:.0%}" for effect in EFFECTS)
    print("One metric: share of regressions (and of undecided checks) by the true change\n")
    print(f"| noise between processes | tolerance | {header} |\n|---|---|" + "---|" * len(EFFECTS))
    for name, (draw, tolerance) in NOISES.items():
        row(name, tolerance, (rates(draw, effect, tolerance, checks) for effect in EFFECTS))
    for stored in STORED:
        draw, tolerance = NOISES["normal, 5 %"]
        found = (rates(draw, e, tolerance, checks, Design(stored=stored)) for e in EFFECTS)
        row(f"normal, 5 %, {stored} stored processes", tolerance, found)
    print(f"\nNothing changed: {METRICS} independent metrics, {ALARMS * checks} checks\n")
    print("| noise between processes | tolerance | regression (undecided) |\n|---|---|---|")
    for name, (draw, tolerance) in {**NOISES, "normal, 20 %": (normal(FARTHER), 0.01)}.items():
        row(name, tolerance, [rates(draw, 0.0, tolerance, ALARMS * checks, metrics=METRICS)])


if __name__ == "__main__":
    main()
