"""How often the gate detects real delays: processes with slower steps, interleaved with others.

    python benchmarks/real_delays.py --out results/delays --rounds 24
    python benchmarks/real_delays.py --out results/delays --rounds 24 --tolerance 0.02

Each round measures the scenario's first case once without a delay and once with each delay, in a
random order; runs that the folder has are kept. The gate's screen and confirmation then judge the
pairs, starting at each round in turn: as many checks as rounds, which share their processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from llmbench.analysis.compare.confirmation import Sides
from llmbench.analysis.compare.power import outcomes
from llmbench.analysis.metrics import summarize
from llmbench.analysis.stats import Floats
from llmbench.campaign import gate
from llmbench.campaign.gate import LiveSide
from llmbench.campaign.observer import SilentObserver
from llmbench.campaign.process import Installation
from llmbench.scenario import file as scenario_file

DELAYS = (0.0, 0.05, 0.10)
LATENCIES = ("ttft_p50", "tpot_p50", "e2e_p50")


def measured(given: argparse.Namespace) -> dict[float, LiveSide]:
    """Measure what the folder lacks, each round in a random order."""
    source = scenario_file.load(given.scenario, given.set)
    sides = {
        delay: gate.live_side(source, given.out / f"{delay:g}", Installation(slowdown=delay))
        for delay in DELAYS
    }
    rng = np.random.default_rng(0)
    for number in range(1, given.rounds + 1):
        for delay in rng.permutation(DELAYS):
            sides[delay].measure(source.cases[0], number, SilentObserver())
    return sides


def values(side: LiveSide, metric: str, rounds: int) -> Floats:
    """Return the logarithm of a metric of each process, in the order of rounds."""
    runs = sorted((r for r in side.run_set.runs if not r.failure), key=lambda run: run.repeat)
    return np.log([summarize(run)[metric].value or np.nan for run in runs if run.repeat <= rounds])


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", type=Path, default=Path("scenarios/gate.yaml"))
    parser.add_argument("--set", action="append", default=['backends=["eager"]', "requests=64"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--tolerance", type=float, default=0.05)
    given = parser.parse_args()
    sides = measured(given)
    print("| metric | delay | change | called |\n|---|---|---|---|")
    for metric in LATENCIES:
        by_delay = {delay: values(side, metric, given.rounds) for delay, side in sides.items()}
        for delay in DELAYS[1:]:
            baseline, candidate = by_delay[0.0], by_delay[delay]
            calls = [
                outcomes([(np.roll(baseline, -n), np.roll(candidate, -n))], given.tolerance)
                for n in range(given.rounds)
            ].count(["confirmed"])
            change = Sides(baseline, candidate, "lower", given.tolerance, paired=True).change
            print(f"| {metric} | {delay:.0%} | {change} | {calls} of {given.rounds} |")


if __name__ == "__main__":
    main()
