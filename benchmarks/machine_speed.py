"""How much the speed of one core changes from second to second while nothing else runs.

    python benchmarks/machine_speed.py                 # a minute
    python benchmarks/machine_speed.py --seconds 300 --json

A plain Python loop is timed again and again. On a virtual machine its time may grow by half for
seconds, since the host runs other guests on the same physical core; the guest does not see this as
stolen time. Every metric of a case has at least this noise. Run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

LOOPS = 100_000  # a few milliseconds


def timed() -> float:
    """Return the seconds of one loop."""
    began = time.perf_counter()
    for _ in range(LOOPS):
        pass
    return time.perf_counter() - began


def by_second(seconds: int) -> list[float]:
    """Return the median time of a loop in each second."""
    medians = []
    for _ in range(seconds):
        end, times = time.perf_counter() + 1, []
        while time.perf_counter() < end:
            times.append(timed())
        medians.append(float(np.median(times)))
    return medians


def main() -> None:
    """Print the relative times of the seconds, and their spread."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seconds = by_second(arguments.seconds)
    relative = np.divide(seconds, min(seconds)).round(2).tolist()
    low, median, high = np.percentile(relative, [10, 50, 90]).round(2).tolist()
    if arguments.json:
        print(json.dumps({"relative": relative, "p10": low, "p50": median, "p90": high}, indent=1))
        return
    print("time of a loop in each second, relative to the fastest:")
    print(" ".join(f"{value:.2f}" for value in relative))
    print(f"p10 {low}, median {median}, p90 {high}")


if __name__ == "__main__":
    main()
