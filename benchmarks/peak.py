"""How close `llmbench peak` comes to the capacity of simulated servers, and what it takes.

    python benchmarks/peak.py --searches 200

The search is llmbench's own; each of its runs is a simulated queue with Poisson arrivals that
starts empty, with some requests of warm-up that are not counted. The objective is a bound of the
p99 of the time in the queue. M/M/1 has one server with exponential services, M/D/1 with constant
ones; the batching server serves all that wait, at most 16, in a time of 1 + k / 10 for k requests.
Capacities are exact for M/M/1, and from simulations of 10 million requests (--capacities) for the
others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from queues import Floats, lindley

from llmbench.analysis.slo_attainment import Exceedance
from llmbench.campaign.capacity import Probe, search
from llmbench.scenario.rng import stream

Serve = Callable[[Floats, np.random.Generator], Floats]
OBJECTIVE, ALLOWED, WARMUP = "e2e_p99", 0.01, 100


def mm1(gaps: Floats, rng: np.random.Generator) -> Floats:
    """Return times in the queue of a server with exponential services."""
    times: Floats = lindley(gaps[None], rng.exponential(1.0, (1, len(gaps))))[0]
    return times


def md1(gaps: Floats, rng: np.random.Generator) -> Floats:  # noqa: ARG001 (constant services)
    """Return times in the queue of a server with constant services."""
    times: Floats = lindley(gaps[None], np.ones((1, len(gaps))))[0]
    return times


def batching(gaps: Floats, rng: np.random.Generator) -> Floats:  # noqa: ARG001 (constant services)
    """Return times in the queue of a server that serves up to 16 requests at once."""
    arrivals = np.cumsum(gaps)
    ends = np.empty_like(arrivals)
    first, free = 0, 0.0
    while first < len(arrivals):
        start = max(free, arrivals[first])
        waiting = int(np.searchsorted(arrivals, start, "right"))
        last = max(first + 1, min(waiting, first + 16))
        free = start + 1 + (last - first) / 10
        ends[first:last] = free
        first = last
    return ends - arrivals


@dataclass(frozen=True, slots=True)
class System:
    """A simulated server, the bound of its p99, and the load at which that is reached."""

    name: str
    serve: Serve
    bound: float
    capacity: float

    def probe(self, load: float, requests: int, rng: np.random.Generator) -> Probe:
        """Return a run at a load."""
        gaps = rng.exponential(1 / load, WARMUP + requests)
        slow = int((self.serve(gaps, rng)[WARMUP:] > self.bound).sum())
        return Probe(load, (Exceedance(OBJECTIVE, self.bound, slow, requests),))


def exact(load: float) -> System:
    """Return the M/M/1 server whose p99 reaches its bound at a load: −ln 0.01 / (1 − ρ)."""
    return System(f"M/M/1, ρ = {load}", mm1, -np.log(ALLOWED) / (1 - load), load)


SYSTEMS = [
    exact(0.5),
    exact(0.8),
    exact(0.9),
    System("M/D/1, ρ = 0.81", md1, 12.0, 0.811),
    System("batching, 86 % of its limit", batching, 6.0, 5.27),
]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=0.1)
    parser.add_argument("--capacities", action="store_true", help="print simulated capacities")
    arguments = parser.parse_args()
    if arguments.capacities:
        for system in SYSTEMS:
            print(system.name, capacity(system))
        return
    print("| server | requests a run | estimate / true | interval holds | claimed ≤ true "
          "| claimed / true | upper end / true | runs | requests |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for system in SYSTEMS:
        for requests in (700, 2000):
            print(row(system, requests, arguments.searches, arguments.tolerance), flush=True)


def row(system: System, requests: int, searches: int, tolerance: float) -> str:
    """Return a table row: medians over many searches, and shares of them."""
    found = []
    for number in range(searches):
        rng = stream(number, system.name)
        found.append(
            search(
                partial(system.probe, requests=requests, rng=rng),
                start=system.capacity / 10,
                most=system.capacity * 10,
                tolerance=tolerance,
            )
        )
    estimates, lows, highs = (
        np.array([getattr(one, name) or none for one in found]) / system.capacity
        for name, none in (("estimate", np.nan), ("low", -np.inf), ("high", np.inf))
    )
    runs = np.array([len(one.probes) for one in found])
    holds = (lows <= 1) & (highs >= 1)
    return (
        f"| {system.name} | {requests} | {np.nanmedian(estimates):.3f} | {holds.mean():.3f} | "
        f"{(lows <= 1).mean():.3f} | {np.median(lows):.3f} | {np.median(highs):.3f} | "
        f"{runs.mean():.0f} | {runs.mean() * (requests + WARMUP):,.0f} |"
    )


def capacity(system: System, requests: int = 10_000_000) -> float:
    """Return the load at which the p99 reaches the bound, by bisection on long simulations."""
    low, high = system.capacity * 0.9, system.capacity * 1.1
    for _ in range(12):
        middle = (low + high) / 2
        slow = system.probe(middle, requests, stream(0, system.name)).exceedances[0]
        low, high = (middle, high) if slow.met else (low, middle)
    return (low + high) / 2


if __name__ == "__main__":
    main()
