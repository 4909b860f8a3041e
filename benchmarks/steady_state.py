"""False alarms and power of `warmup: auto` on simulated latencies.

    python benchmarks/steady_state.py --series 1000

A steady queue is M/M/1 and starts empty; its two metrics are independent, which is the worst case.
Independent latencies are lognormal with the given coefficient of variation (CV).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from queues import sojourns

from llmbench.analysis.steady_state import steady_from

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


def noise(rng: np.random.Generator, shape: tuple[int, int], cv: float) -> Floats:
    """Return lognormal values with median 1."""
    return rng.lognormal(0.0, np.sqrt(np.log1p(cv**2)), shape)


def queue(rng: np.random.Generator, shape: tuple[int, int], load: float) -> Floats:
    """Return times in M/M/1 queues."""
    return sojourns(load, shape, rng)


def drifting(draw: Draw, rng: np.random.Generator, shape: tuple[int, int], by: float) -> Floats:
    """Return values that rise linearly by a share of the first."""
    return draw(rng, shape) * (1 + by * np.arange(shape[1]) / shape[1])


def warming(
    draw: Draw, rng: np.random.Generator, shape: tuple[int, int], requests: int, times: float
) -> Floats:
    """Return values whose first requests take ``times`` as long and then less and less."""
    return draw(rng, shape) * (
        1 + (times - 1) * np.clip(1 - np.arange(shape[1]) / requests, 0, None)
    )


def judged(draw: Draw, series: int, length: int) -> list[int | None]:
    """Return the warm-up found in each of many series."""
    rng = np.random.default_rng(length)
    return [steady_from(values) for values in draw(rng, (series, length))]


def main() -> None:
    """Print three tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    series = parser.parse_args().series
    steady_queues(series)
    drifts(series)
    warm_ups(series)


def steady_queues(series: int) -> None:
    """Print the shares of steady queues that are called unsteady or lose requests."""
    print("| steady queue | requests | unsteady | of two metrics, either | something excluded |")
    print("|---|---|---|---|---|")
    for load in (0.3, 0.5, 0.8):
        for length in (100, 200, 400, 1000, 4000):
            cuts = judged(partial(queue, load=load), series, length)
            unsteady = cuts.count(None) / series
            either = 1 - (1 - unsteady) ** 2
            excluded = np.mean([bool(cut) for cut in cuts])
            print(f"| ρ = {load} | {length} | {unsteady:.3f} | {either:.3f} | {excluded:.3f} |")


def drifts(series: int) -> None:
    """Print the shares of drifts that are found."""
    lengths = (200, 400, 1000, 4000)
    print("\n| drift | ", " | ".join(f"{length} requests" for length in lengths), "|")
    print("|---|" + "---|" * len(lengths))
    rows: dict[str, Draw] = {
        f"20 %, CV {cv:g}": partial(drifting, partial(noise, cv=cv), by=0.2)
        for cv in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
    }
    rows |= {f"20 %, M/M/1 ρ = {load}": partial(drifting, partial(queue, load=load), by=0.2)
             for load in (0.5, 0.8)}  # fmt: skip
    rows |= {f"queue that grows, ρ = {load}": partial(queue, load=load)
             for load in (1.05, 1.1, 1.2, 1.5)}  # fmt: skip
    for name, draw in rows.items():
        shares = (np.mean([cut is None for cut in judged(draw, series, n)]) for n in lengths)
        print(f"| {name} |", " | ".join(f"{share:.2f}" for share in shares), "|", flush=True)


def warm_ups(series: int) -> None:
    """Print what is excluded of real warm-ups in 400 requests."""
    print("\n| warm-up in 400 requests | CV | found | excluded (p10, p50, p90) | unsteady |")
    print("|---|---|---|---|---|")
    for requests, times in ((5, 10.0), (20, 2.0), (20, 4.0), (60, 2.0), (100, 1.3), (100, 2.0)):
        for cv in (0.05, 0.2, 0.5):
            draw = partial(warming, partial(noise, cv=cv), requests=requests, times=times)
            cuts = judged(draw, series, 400)
            some = [cut for cut in cuts if cut]
            marks = ", ".join(f"{cut:.0f}" for cut in np.percentile(some or [0], (10, 50, 90)))
            print(
                f"| {requests} requests, {times:g} times as long | {cv} | "
                f"{len(some) / len(cuts):.2f} | {marks} | {cuts.count(None) / len(cuts):.3f} |"
            )


if __name__ == "__main__":
    main()
