"""How often `stop.precision` is right where latencies are autocorrelated: M/M/1 queues.

    python benchmarks/stopping.py --queues 200

Each queue starts empty and stops at the first check that finds its percentile precise, unless that
takes more than --requests. Columns: the share of queues that stop and their median number of
requests; the shares of stops whose interval holds the true percentile, and whose measured
percentile is as close to it as was asked for; and the share of all queues that stop without.
"""

from __future__ import annotations

import argparse

import numpy as np
from queues import Floats, mm1_percentile, sojourns

from llmbench.analysis.stats import percentile, percentile_interval
from llmbench.loads.stopping import REPEATED_Z, Precision
from llmbench.scenario.rng import stream


def requests_until_stop(times: Floats, precision: Precision) -> int | None:
    """Return the number of requests after which a load ends, or None."""
    count = 1
    while count <= len(times):
        if precision.is_met(times[:count]):
            return count
        count = precision.next_check(count)
    return None


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queues", type=int, default=200)
    parser.add_argument("--requests", type=int, default=50_000)
    arguments = parser.parse_args()
    columns = ("queue", "percentile", "within", "stop", "requests")
    print("|", " | ".join([*columns, "interval holds", "close", "of all, not"]), "|")
    print("|---|---|---|---|---|---|---|---|")
    for load in (0.3, 0.5, 0.8, 0.9):
        shape = (arguments.queues, arguments.requests)
        queues = sojourns(load, shape, stream(int(100 * load), "queues"))
        for percent, within in ((50, 0.05), (50, 0.1), (50, 0.2), (90, 0.1), (90, 0.2), (99, 0.2)):
            cells = row(queues, load, percent, within)
            print(f"| ρ = {load} | p{percent} | {100 * within:g} % | {cells}", flush=True)


def row(queues: Floats, load: float, percent: float, within: float) -> str:
    """Return the cells of one table row."""
    precision = Precision("ttft", percent, within)
    counts = [requests_until_stop(times, precision) for times in queues]
    stopped = [times[:count] for times, count in zip(queues, counts, strict=True) if count]
    share = f"{len(stopped) / len(queues):.2f}"
    if not stopped:
        return "0 | | | | 0 |"
    true = mm1_percentile(load, percent)
    ends = np.array([percentile_interval(times, percent, REPEATED_Z) for times in stopped])
    holds = ((ends[:, 0] <= true) & (true <= ends[:, 1])).mean()
    close = np.mean([abs(percentile(times, percent) / true - 1) <= within for times in stopped])
    median = np.median([len(times) for times in stopped])
    wrong = (1 - holds) * len(stopped) / len(queues)
    return f"{share} | {median:,.0f} | {holds:.2f} | {close:.2f} | {wrong:.3f} |"


if __name__ == "__main__":
    main()
