"""How often `llmbench check` errs on simulated nights: false alarms and detected changes.

    python benchmarks/decision_rule.py --nights 4000

Noise is between processes: normal with a standard deviation of 1 %, Student's t of 3 degrees, one
process in ten slower by 10 to 30 %, and two modes 3 % apart.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from llmbench.error_rates import Draw, called

EFFECTS = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10)
Floats = NDArray[np.float64]


def normal(draws: np.random.Generator, count: int) -> Floats:
    return draws.normal(0, 0.01, count)


def heavy_tailed(draws: np.random.Generator, count: int) -> Floats:
    return np.asarray(draws.standard_t(3, count) * 0.01 / np.sqrt(3))


def outliers(draws: np.random.Generator, count: int) -> Floats:
    slow = (draws.random(count) < 0.1) * draws.uniform(0.1, 0.3, count)
    return np.asarray(draws.normal(0, 0.01, count) + slow)


def bimodal(draws: np.random.Generator, count: int) -> Floats:
    return np.asarray(draws.normal(0, 0.005, count) + (draws.random(count) < 0.5) * 0.03)


NOISES: list[tuple[str, Draw, float]] = [
    ("normal", normal, 0.03),
    ("heavy-tailed", heavy_tailed, 0.03),
    ("outliers", outliers, 0.03),
    ("bimodal", bimodal, 0.05),
]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=4000)
    nights = parser.parse_args().nights
    print("| noise | tolerance |", " | ".join(f"{effect:.0%}" for effect in EFFECTS), "|")
    print("|---|---|", "---|" * len(EFFECTS))
    for name, draw, tolerance in NOISES:
        shares = (called(draw, effect, tolerance, nights) for effect in EFFECTS)
        print(f"| {name} | {tolerance:.0%} |", " | ".join(f"{share:.4g}" for share in shares), "|")


if __name__ == "__main__":
    main()
