"""The overhead of the engine and the collectors, relative to the steps of a model.

    python benchmarks/engine_overhead.py                 # random:smollm2-135m, about three minutes
    python benchmarks/engine_overhead.py --model random:tiny --json
    python benchmarks/engine_overhead.py --only collectors
    env $(python tests/standin.py build/standin) python benchmarks/engine_overhead.py

1. The engine's loop compared with a bare decode loop on the same runner, interleaved.
2. The engine alone, on a runner that does nothing, at 1, 16 and 64 slots.
3. The bare loop with and without the collectors' process (cpu, gpu, energy), interleaved, and the
   processor time of that process. On a machine without a GPU, the tests' stand-in (the last line)
   simulates one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from llmbench import models
from llmbench.backends.base import LoadShape
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.backends.torch.eager import Eager
from llmbench.collectors.sampler import watch
from llmbench.engine.engine import Engine, ModelRunner
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.runner import TorchRunner
from llmbench.engine.sampling import Greedy
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.schema import ModelOptions, Scenario

PROMPT = 16
MAX_LENGTH = 256


class Nothing:
    """A runner whose steps take no time."""

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:  # noqa: ARG002 (does nothing)
        return 1

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        return [[1]] * len(slots)


class Timed:
    """Sums the time inside another runner's steps."""

    def __init__(self, runner: ModelRunner) -> None:
        self.runner = runner
        self.seconds = 0.0
        self.steps = 0

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        began = time.perf_counter()
        token = self.runner.prefill(slot, prompt)
        self._note(began)
        return token

    def decode(self, slots: Sequence[int]) -> Sequence[Sequence[int]]:
        began = time.perf_counter()
        tokens = self.runner.decode(slots)
        self._note(began)
        return tokens

    def _note(self, began: float) -> None:
        self.seconds += time.perf_counter() - began
        self.steps += 1


def real_runner(source: str, slots: int) -> TorchRunner:
    model = models.load_model(ModelOptions(source=source)).module
    load_shape = LoadShape((PROMPT,), MAX_LENGTH)
    buckets = Eager(Eager.Options()).buckets(load_shape, slots, MAX_LENGTH)
    return TorchRunner(model, KvCache.allocate(model, slots, MAX_LENGTH), Greedy(), buckets)


def all_at_once(requests: int, tokens: int) -> Dispatch:
    pool = (Request(number, (1,) * PROMPT, tokens) for number in count())
    return Dispatch(pool, Scheduled(np.zeros(requests)), Stop(requests=requests))


def engine_loop(runner: ModelRunner, slots: int, tokens: int) -> float:
    """Serve one request per slot and return the seconds."""
    engine = Engine(runner, MonotonicClock(), slots=slots)
    dispatch = all_at_once(slots, tokens)
    with frozen_gc():
        began = time.perf_counter()
        engine.serve(dispatch)
        return time.perf_counter() - began


def bare_loop(runner: ModelRunner, slots: int, tokens: int) -> float:
    """Run the same steps without an engine and return the seconds."""
    with frozen_gc():
        began = time.perf_counter()
        for slot in range(slots):
            runner.prefill(slot, (1,) * PROMPT)
        for _ in range(tokens - 1):
            runner.decode(range(slots))
        return time.perf_counter() - began


def alternated(first: Callable[[], float], second: Callable[[], float], pairs: int) -> list[float]:
    """Return second's time over first's, pair by pair, in alternating order (ABBA)."""
    ratios = []
    for pair in range(pairs):
        if pair % 2:
            after, before = second(), first()
        else:
            before, after = first(), second()
        ratios.append(after / before)
    return ratios


def engine_against_bare(source: str, slots: int, tokens: int, pairs: int) -> dict[str, Any]:
    with torch.inference_mode():
        runner = real_runner(source, slots)
        bare_loop(runner, slots, tokens)
        timed = Timed(runner)
        wall = engine_loop(timed, slots, tokens)
        ratios = alternated(
            lambda: bare_loop(runner, slots, tokens),
            lambda: engine_loop(runner, slots, tokens),
            pairs,
        )
    outside = wall - timed.seconds
    return {
        "slots": slots,
        "step_ms": 1e3 * timed.seconds / timed.steps,
        "outside_steps_us_per_step": 1e6 * outside / timed.steps,
        "outside_steps_percent": 100 * outside / timed.seconds,
        "engine_over_bare_median": statistics.median(ratios),
        "engine_over_bare": ratios,
    }


def engine_alone(slots: int, tokens: int = 2_000) -> dict[str, Any]:
    seconds = min(engine_loop(Nothing(), slots, tokens) for _ in range(5))
    return {"slots": slots, "us_per_step": 1e6 * seconds / (tokens - 1 + slots)}


def collectors() -> list[Any]:
    spec = {
        "name": "overhead", "model": "random:tiny", "workload": "synthetic", "load": "closed",
        "backends": ["fake"], "requests": 1, "collect": ["cpu", "gpu", "energy"],
    }  # fmt: skip
    chosen: list[Any] = Scenario.model_validate(spec).collect
    return chosen


def with_collectors_against_without(source: str, tokens: int, pairs: int) -> dict[str, Any]:
    chosen, spent, read = collectors(), [], []
    with torch.inference_mode():
        runner = real_runner(source, 1)
        bare_loop(runner, 1, tokens)

        def watched_loop() -> float:
            with watch(chosen, os.getpid()) as watched:
                seconds = bare_loop(runner, 1, tokens)
            spent.append(watched.facts["sampler"]["cpu_percent_of_a_core"])
            read.append(sum(series.available for series in watched.absolute))
            return seconds

        ratios = alternated(lambda: bare_loop(runner, 1, tokens), watched_loop, pairs)
    spent_percent = statistics.median(spent)
    return {
        "quantities": read[-1],
        "sampler_cpu_percent_of_a_core": spent_percent,
        "sampler_cpu_percent_of_the_machine": spent_percent / (os.cpu_count() or 1),
        "on_over_off_median": statistics.median(ratios),
        "on_over_off": ratios,
    }


def engine_rows(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    shape = (arguments.tokens, arguments.pairs)
    return {
        f"engine against bare loop, {source}": [
            engine_against_bare(source, slots, *shape) for slots in counts
        ]
        for source, counts in ((arguments.model, (1, 4)), ("random:tiny", (1, 16, 64)))
    }


def alone_rows(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:  # noqa: ARG001
    return {"engine alone": [engine_alone(slots) for slots in (1, 16, 64)]}


def collector_rows(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    results = with_collectors_against_without(arguments.model, arguments.tokens, arguments.pairs)
    return {"collectors on against off": [results]}


PARTS = {"engine": engine_rows, "alone": alone_rows, "collectors": collector_rows}


def show(results: dict[str, Any]) -> None:
    console = Console()
    for title, rows in results.items():
        table = Table(title=title, title_justify="left")
        for name in rows[0]:
            table.add_column(name.replace("_", " "))
        for row in rows:
            table.add_row(*(_shown(value) for value in row.values()))
        console.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{item:.3f}" for item in value)
    return f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--tokens", type=int, default=64, help="tokens per request")
    parser.add_argument("--pairs", type=int, default=6, help="interleaved pairs for each ratio")
    parser.add_argument("--only", choices=PARTS, help="one of the three parts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {
        title: rows
        for part, measure in PARTS.items()
        if arguments.only in (None, part)
        for title, rows in measure(arguments).items()
    }
    print(json.dumps(results, indent=1)) if arguments.json else show(results)


if __name__ == "__main__":
    main()
