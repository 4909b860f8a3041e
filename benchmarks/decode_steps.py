"""Decode steps of eager, compiled and onnx by batch size: time, tokens/s and MBU.

    python benchmarks/decode_steps.py                                  # random:smollm2-135m
    python benchmarks/decode_steps.py --model random:llama-3.2-1b --rounds 4 --json
    python benchmarks/decode_steps.py --contenders compiled library generated

All contenders are in one process and take turns, so that a slow spell of the machine meets each of
them. ``compiled`` has `matvec: auto`; ``library``, ``generated`` and ``packed`` are ``compiled``
with that `matvec`; ``no-graphs`` is ``compiled`` without CUDA graphs; ``int8``, ``int4`` and
``float8`` are ``compiled`` with quantized weights. MBU is the share of the memory bandwidth that a
copy reaches on the GPU, or in this process's threads. The first step of each contender and batch
size, which compiles it, is timed separately.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from against_generate import show

from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.local import LocalBackend, threads_of
from llmbench.backends.onnx import Onnx
from llmbench.backends.torch.compiled import Compiled
from llmbench.backends.torch.eager import Eager
from llmbench.engine.device_peaks import peaks_of
from llmbench.engine.sampling import Greedy
from llmbench.environment import usable_cores
from llmbench.models.compress import Recipe, Scheme
from llmbench.scenario.schema import EngineOptions, ModelOptions

CACHED = 64  # tokens in each sequence's cache
BACKENDS: dict[str, Callable[..., LocalBackend[Any]]] = {
    "eager": lambda _: Eager(Eager.Options()),
    "library": lambda rows: Compiled(Compiled.Options(matvec="library", row_buckets=rows)),
    "generated": lambda rows: Compiled(Compiled.Options(matvec="generated", row_buckets=rows)),
    "packed": lambda rows: Compiled(Compiled.Options(matvec="packed", row_buckets=rows)),
    "compiled": lambda rows: Compiled(Compiled.Options(matvec="auto", row_buckets=rows)),
    "no-graphs": lambda rows: Compiled(Compiled.Options(mode="default", row_buckets=rows)),
    "onnx": lambda _: Onnx(Onnx.Options()),
    "int8": lambda rows: _quantized("int8-weight-only", rows),
    "int4": lambda rows: _quantized("int4-weight-only", rows),
    "float8": lambda rows: _quantized("float8", rows),
}


def _quantized(scheme: Scheme, rows: tuple[int, ...]) -> Compiled:
    return Compiled(Compiled.Options(compress=Recipe(quantize=scheme), row_buckets=rows))


class Contender:
    """A loaded backend with a runner of its steps."""

    def __init__(self, name: str, source: str, rows: tuple[int, ...]) -> None:
        self.name = name
        slots, load_shape = max(rows), LoadShape((8,), 2 * CACHED)
        context = OpenContext(ModelOptions(source=source), load_shape, EngineOptions(slots=slots))
        backend = BACKENDS[name](rows)
        model = backend.load(context)
        self.products = model.effective.get("matvec", "")
        self.choosing_seconds = model.compile_seconds or 0.0
        self.costs = backend.costs(model)
        self.device = model.device
        self.dtype = model.effective["dtype"]
        length = 2 * CACHED
        buckets = backend.buckets(load_shape, slots, length)
        self.runner = backend.runner(model, buckets, Greedy(), slots=slots, max_length=length)

    def step(self, rows: int) -> float:
        """Return the seconds of a decode step of this many sequences."""
        self.runner.pretend(rows, CACHED)
        began = time.perf_counter()
        self.runner.decode(range(rows))
        return time.perf_counter() - began


def measured(
    contenders: list[Contender], batch_sizes: tuple[int, ...], rounds: int, steps: int
) -> list[dict[str, Any]]:
    """Let the contenders take turns; return a row for each batch size and contender."""
    pairs = [(rows, contender) for rows in batch_sizes for contender in contenders]
    threads, one = torch.get_num_threads(), contenders[0]
    peak = peaks_of(one.device, one.dtype, threads).bytes_per_second
    first = {(rows, c.name): c.step(rows) for rows, c in pairs}
    times: dict[tuple[int, str], list[float]] = {key: [] for key in first}
    for _ in range(rounds):
        for rows, contender in pairs:
            contender.step(rows)
            times[rows, contender.name] += [contender.step(rows) for _ in range(steps)]
    return [_row(c, rows, first[rows, c.name], times[rows, c.name], peak) for rows, c in pairs]


def _row(
    contender: Contender, rows: int, first: float, times: list[float], peak: float
) -> dict[str, Any]:
    seconds = statistics.median(times)
    lengths = np.full(rows, CACHED - 1)
    work = contender.costs.decode(1, seconds, lengths, lengths)
    return {
        "rows": rows,
        "backend": contender.name,
        "ms per step": 1e3 * seconds,
        "tokens per second": rows / seconds,
        "MBU": work.bandwidth_share(peak),
        "first step s": first,
        "load-time compilation s": contender.choosing_seconds,
        "products": contender.products,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--rounds", type=int, default=6, help="in which the contenders alternate")
    parser.add_argument("--steps", type=int, default=4, help="timed steps per round")
    parser.add_argument(
        "--contenders", nargs="+", choices=BACKENDS, default=["eager", "compiled", "onnx"]
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(threads_of(EngineOptions(), torch.get_num_threads(), usable_cores()))
    rows = tuple(sorted(arguments.rows))
    contenders = [Contender(name, arguments.model, rows) for name in arguments.contenders]
    with torch.inference_mode():
        table = measured(contenders, rows, arguments.rounds, arguments.steps)
    print(json.dumps(table, indent=1)) if arguments.json else show(table, arguments.model)


if __name__ == "__main__":
    main()
