"""TTFT of prompts that arrive together, and the wait of a running request, by `prefill_tokens`.

    python benchmarks/batched_prefill.py                          # random:smollm2-135m
    python benchmarks/batched_prefill.py --lengths 16 64 --budgets 1 64 256 --json

A request decodes alone; then several prompts of equal length arrive at once. Each round serves this
load once per budget, in rotated order. TTFT counts from the arrival, so it includes the rest of
the decode step that is running then. The wait is the longest time between two tokens of the running
request. Answers must be equal for all budgets. Needs: pip install -e '.[onnx]'
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.backends.local import LocalBackend, shared_totals, threads_of
from llmbench.backends.onnx import Onnx
from llmbench.backends.torch.compiled import Compiled
from llmbench.backends.torch.eager import Eager
from llmbench.engine.engine import Engine
from llmbench.engine.sampling import Greedy
from llmbench.engine.warmup import warmup_steps
from llmbench.environment import usable_cores
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.schema import EngineOptions, ModelOptions

BACKENDS: dict[str, LocalBackend[Any]] = {
    "eager": Eager(Eager.Options()),
    "compiled": Compiled(Compiled.Options()),
    "onnx": Onnx(Onnx.Options()),
}
RUNNING, ANSWER = 12, 2  # tokens of the running request, and of those that arrive together
FIRST_STEPS = 4.0  # decode steps before they arrive
MAX_LENGTH = 256


class Load:
    """A warm runner, and the load that it serves with different budgets."""

    def __init__(self, kind: str, source: str, prompts: int, length: int, most: int) -> None:
        self.slots = prompts + 1
        shape = LoadShape((length,), MAX_LENGTH)
        context = OpenContext(ModelOptions(source=source), shape, EngineOptions(slots=self.slots))
        backend = BACKENDS[kind]
        model = backend.load(context)
        buckets = backend.buckets(shape, self.slots, MAX_LENGTH)
        self.runner = backend.runner(
            model, buckets, Greedy(), slots=self.slots, max_length=MAX_LENGTH
        )
        totals = backend.warmup_totals(buckets, shared_totals(shape, self.slots, most))
        steps = warmup_steps(self.runner, backend.warmup_shapes(buckets, shape), totals)
        for step in steps.values():
            step()
        rng = np.random.default_rng(0)
        ids = rng.integers(0, model.vocabulary, (self.slots, length)).tolist()
        self.requests = [
            Request(number, tuple(prompt), ANSWER if number else RUNNING)
            for number, prompt in enumerate(ids)
        ]

    def serve(self, budget: int, arrival: float) -> tuple[list[float], list[float], list[Any]]:
        """Return the TTFTs, the times between tokens of the running request, and all answers."""
        due = np.array([0.0, *[arrival] * (self.slots - 1)])
        dispatch = Dispatch(self.requests, Scheduled(due), Stop(requests=self.slots))
        with frozen_gc():
            engine = Engine(
                self.runner,
                MonotonicClock(),
                slots=self.slots,
                prefill_tokens=budget,
                keep_outputs=True,
            )
            records = engine.serve(dispatch)
        running, *joining = sorted(records, key=lambda record: record.request_id)
        ttfts = [record.token_times[0] - record.due for record in joining]
        gaps = np.diff(running.token_times).tolist()
        return ttfts, gaps, [record.output_ids for record in (running, *joining)]


def measured(load: Load, budgets: list[int], rounds: int) -> list[dict[str, Any]]:
    """Return one row per budget, with medians over the rounds."""
    ttfts: dict[int, list[float]] = {budget: [] for budget in budgets}
    lasts: dict[int, list[float]] = {budget: [] for budget in budgets}
    waits: dict[int, list[float]] = {budget: [] for budget in budgets}
    answers: set[str] = set()
    _, gaps, _ = load.serve(budgets[0], 0.0)
    arrival = FIRST_STEPS * statistics.median(gaps)
    for turn in range(rounds):
        for budget in np.roll(budgets, turn).tolist():
            arrived, gaps, answered = load.serve(budget, arrival)
            ttfts[budget].append(statistics.median(arrived))
            lasts[budget].append(max(arrived))
            waits[budget].append(max(gaps))
            answers.add(json.dumps(answered))
    return [
        {
            "prefill_tokens": budget,
            "ttft_p50": statistics.median(ttfts[budget]),
            "ttft_max": statistics.median(lasts[budget]),
            "wait": statistics.median(waits[budget]),
            "tokens_equal": len(answers) == 1,
        }
        for budget in budgets
    ]


def show(rows: list[dict[str, Any]], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--prompts", type=int, default=16, help="prompts that arrive at once")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64], help="tokens of each")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1, 64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: as engine.threads: auto")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    threads = arguments.threads or threads_of(
        EngineOptions(), torch.get_num_threads(), usable_cores()
    )
    torch.set_num_threads(threads)
    rows = []
    with torch.inference_mode():
        for kind in arguments.backends:
            for length in arguments.lengths:
                load = Load(
                    kind, arguments.model, arguments.prompts, length, max(arguments.budgets)
                )
                rows += [
                    {"backend": kind, "tokens": length, **row}
                    for row in measured(load, arguments.budgets, arguments.rounds)
                ]
    print(json.dumps(rows, indent=1)) if arguments.json else show(rows, arguments.model)


if __name__ == "__main__":
    main()
