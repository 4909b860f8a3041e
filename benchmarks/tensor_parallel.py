"""The cost of a step that several ranks run together, relative to one process.

    python benchmarks/tensor_parallel.py                       # random:gpt2, 1 and 2 ranks
    python benchmarks/tensor_parallel.py --model random:tiny --tensor 1 2 --json

Each row is one number of ranks, with the usable cores divided among them: the median time of a
prefill and of a decode step, and the time in which rank 0 sends one step to the other ranks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from llmbench.backends.local import LocalServer
from llmbench.backends.torch.eager import Eager
from llmbench.scenario.schema import EngineOptions, ModelOptions, ParallelOptions
from llmbench.testing import open_context

PROMPT, LONGEST = 32, 256


def seconds(step: Callable[[], object], steps: int) -> float:
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def row(source: str, tensor: int, slots: int, steps: int) -> dict[str, Any]:
    context = open_context(
        ModelOptions(source=source, self_check=False),
        prompt_lengths=(PROMPT,),
        longest_sequence=LONGEST,
        engine=EngineOptions(slots=slots),
        parallel=ParallelOptions(tensor=tensor),
    )
    with Eager(Eager.Options()).open(context) as server:
        return {
            "ranks": tensor,
            "threads_per_rank": server.effective()["threads"],
            "prefill_ms": 1e3 * seconds(lambda: server.runner.prefill(0, [1] * PROMPT), steps),
            "decode_ms": 1e3 * decode_seconds(server, slots, steps),
            "sent_us_per_step": 1e6 * sending_seconds(server, slots, steps),
        }


def decode_seconds(server: LocalServer, slots: int, steps: int) -> float:
    for slot in range(slots):
        server.runner.prefill(slot, [1] * PROMPT)
    return seconds(lambda: server.runner.decode(range(slots)), min(steps, LONGEST - PROMPT))


def sending_seconds(server: LocalServer, slots: int, steps: int) -> float:
    """Return the time in which a step is sent; `pretend` is a call that computes nothing."""
    return seconds(lambda: server.runner.pretend(slots, PROMPT), steps)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(title="steps by number of ranks", title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "))
    for one in rows:
        table.add_row(*(f"{value:.4g}" for value in one.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:gpt2")
    parser.add_argument("--tensor", type=int, nargs="+", default=[1, 2], help="numbers of ranks")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [
        row(arguments.model, tensor, arguments.slots, arguments.steps)
        for tensor in arguments.tensor
    ]
    print(json.dumps(rows, indent=1)) if arguments.json else show(rows)


if __name__ == "__main__":
    main()
