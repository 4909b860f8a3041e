"""Error rates of `llmbench check` in simulated checks: false alarms and detected changes.

    python benchmarks/decision_rule.py --checks 4000

Noise is between processes; llmbench/analysis/compare/power.py draws each kind.
"""

from __future__ import annotations

import argparse

from llmbench.analysis.compare.power import NOISES, detection_rate

EFFECTS = (0.0, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=4000)
    checks = parser.parse_args().checks
    print("| noise | tolerance |", " | ".join(f"{effect:.0%}" for effect in EFFECTS), "|")
    print("|---|---|", "---|" * len(EFFECTS))
    for name, (draw, tolerance) in NOISES.items():
        shares = (detection_rate(draw, effect, tolerance, checks) for effect in EFFECTS)
        print(f"| {name} | {tolerance:.0%} |", " | ".join(f"{share:.4g}" for share in shares), "|")


if __name__ == "__main__":
    main()
