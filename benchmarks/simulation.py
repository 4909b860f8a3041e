"""Requests per second of simulated loads, on one core.

    python benchmarks/simulation.py
    python benchmarks/simulation.py --trace AzureLLMInferenceTrace_conv.csv

Open loops at 80 % of the capacity of 1 to 1,000 replicas of 8 slots, with each balancer, and a
recorded trace. ``loads`` counts the time from a load that is ready to send to the table of its
records, ``runs`` that of whole simulated runs, of a workload that was drawn before, as for all
points of a grid but the first. The rates are medians of several rounds; ``spread`` is the range of
the first, relative to it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from llmbench.backends.gc_freeze import paused_gc
from llmbench.campaign.prepare import prepare
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.simulation.draws import Noise, Variation, repeated
from llmbench.simulation.simulate import drawn_of, jumped, simulate
from llmbench.simulation.step_times import StepModel

SLOTS, LOAD = 8, 0.8
PER_SECOND = 42.0  # requests of the workload that one replica can serve
FACTORS = 10_000
WHOLE_TRACE = 1e7  # seconds
NONE = np.empty(0)


class Typical(StepModel):
    """A prefill step of 5 to 10 ms and a decode step of 4 to 6 ms, with factors of 10 %."""

    def __init__(self) -> None:
        self._factors = np.random.default_rng(0).lognormal(0, 0.1, FACTORS)

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        return 0.005 + 5e-5 * tokens + 1e-8 * context + 1e-4 * prompts

    def decode_line(self, rows: int) -> tuple[float, float]:
        return 0.004 + 2e-4 * rows, 1e-7

    def noises(self, rng: np.random.Generator, servers: int) -> list[Noise]:
        return repeated([Variation(self._factors, self._factors, NONE, NONE)], rng, servers)


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate of one simulation."""

    load: str
    replicas: int
    balance: str
    requests: int
    loads_per_second: float
    runs_per_second: float
    spread: float


def open_loop(replicas: int, balance: str, requests: int) -> Case:
    """Return a case of a Poisson load."""
    return case(
        {"kind": "synthetic", "prompt_tokens": {"uniform": [8, 64]},
         "output_tokens": {"uniform": [4, 32]}},
        {"kind": "poisson", "rate": PER_SECOND * LOAD * replicas},
        balance, requests=requests,
    )  # fmt: skip


def case(workload: Any, load: Any, balance: str, **keys: Any) -> Case:
    spec = {
        "name": "simulation",
        "model": "random:tiny",
        "workload": workload,
        "load": load,
        "backends": ["eager"],
        "engine": {"slots": SLOTS, "prefill_tokens": 64},
        "replicas": {"count": 2, "balance": balance},
        **keys,
    }
    return Case.of(Scenario.model_validate(spec), {})


def rate(name: str, case: Case, replicas: int, rounds: int) -> Rate:
    model, alone, both = Typical(), [], []
    requests = len(simulate(case, model, replicas=replicas).records)  # draws the workload
    seeded = Case.of(Scenario.model_validate(case.spec_of(1)), {})
    load = prepare(seeded, Path(), drawn_of(seeded))
    for _ in range(rounds):
        began = time.perf_counter()
        with paused_gc():
            if jumped(load, model, replicas) is None:
                raise ValueError(f"{name} is simulated step by step")
        served = time.perf_counter()
        simulate(case, model, replicas=replicas)
        alone.append(requests / (served - began))
        both.append(requests / (time.perf_counter() - served))
    median = statistics.median(alone)
    balance = case.scenario.replicas.balance if case.scenario.replicas else "none"
    spread = (max(alone) - min(alone)) / median
    return Rate(name, replicas, balance, requests, median, statistics.median(both), spread)


def show(rates: list[Rate]) -> None:
    table = Table(title="Simulated requests", title_justify="left")
    for name in (
        "load",
        "replicas",
        "balance",
        "requests",
        "loads, requests/s",
        "runs, requests/s",
    ):
        table.add_column(name)
    table.add_column("spread")
    for each in rates:
        table.add_row(
            each.load,
            f"{each.replicas:,}",
            each.balance,
            f"{each.requests:,}",
            f"{each.loads_per_second:,.0f}",
            f"{each.runs_per_second:,.0f}",
            f"{100 * each.spread:.0f} %",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 8, 64, 1000])
    parser.add_argument(
        "--balance", nargs="+", default=["round-robin", "least-loaded", "two-choices"]
    )
    parser.add_argument("--trace", type=Path, help="file of a recorded trace, such as Azure's")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rates = [
        rate("poisson", open_loop(count, balance, arguments.requests), count, arguments.rounds)
        for count in arguments.replicas
        for balance in arguments.balance
    ]
    if arguments.trace:
        workload = {"kind": "trace", "path": str(arguments.trace)}
        replayed = case(workload, "trace", "least-loaded", duration=WHOLE_TRACE)
        rates += [rate("trace", replayed, count, arguments.rounds) for count in arguments.replicas]
    print(json.dumps([asdict(each) for each in rates], indent=1)) if arguments.json else show(rates)


if __name__ == "__main__":
    main()
