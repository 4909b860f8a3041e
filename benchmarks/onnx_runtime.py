"""llmbench's loop on ONNX graphs compared with onnxruntime-genai's generator, and with torch.

    python benchmarks/onnx_runtime.py                     # random:smollm2-135m
    python benchmarks/onnx_runtime.py --model builtin:tiny --json
    python benchmarks/onnx_runtime.py --depths 128 1024   # seconds per step by depth of the cache

Each contender runs in processes of its own, since the spinning threads of one slow down another;
rounds are interleaved, and ratios are relative to genai's generator on the graph of its own
builder, which `builder` runs too. Needs: pip install -e '.[onnx-builder]'
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from against_generate import MAX_LENGTH, Served, reference, requests, show

from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.local import LocalBackend
from llmbench.backends.onnx import Onnx, builder
from llmbench.backends.torch.compiled import Compiled
from llmbench.backends.torch.eager import Eager
from llmbench.engine.sampling import Greedy
from llmbench.runs.request import Request
from llmbench.scenario.schema import EngineOptions, ModelOptions

GENAI = "genai"
BACKENDS: dict[str, Callable[[], LocalBackend[Any]]] = {
    "builder": lambda: Onnx(Onnx.Options(graph="builder")),
    "export": lambda: Onnx(Onnx.Options()),
    "compiled": lambda: Compiled(Compiled.Options()),
    "eager": lambda: Eager(Eager.Options()),
}
STEPS = 16


class Genai:
    """onnxruntime-genai's generator on a folder that its builder made."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime_genai  # noqa: PLC0415 (its threads are for its own process alone)

        self.genai = onnxruntime_genai
        self.model = onnxruntime_genai.Model(str(folder))

    def begun(self, prompt: Sequence[int], length: int) -> Any:
        params = self.genai.GeneratorParams(self.model)
        params.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = self.genai.Generator(self.model, params)
        generator.append_tokens(np.array([prompt], dtype=np.int32))
        return generator

    def run(self, batch: Sequence[Request]) -> float:
        began = time.perf_counter()
        for request in batch:
            length = len(request.prompt) + request.max_new_tokens
            generator = self.begun(request.prompt, length)
            for _ in range(request.max_new_tokens):
                generator.generate_next_token()
        return time.perf_counter() - began

    def steps(self, depth: int) -> list[float]:
        generator = self.begun([1] * (depth - STEPS), depth + 1)
        generator.generate_next_token()
        return [timed(generator.generate_next_token) for _ in range(STEPS)]


def timed(step: Any) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def stepped(kind: str, source: str, depth: int) -> list[float]:
    """Return the seconds of steps of one sequence with about this many cached tokens."""
    load_shape = LoadShape((8,), depth)
    context = OpenContext(ModelOptions(source=source), load_shape, EngineOptions(slots=1))
    backend = BACKENDS[kind]()
    buckets = backend.buckets(load_shape, 1, depth)
    runner = backend.runner(backend.load(context), buckets, Greedy(), slots=1, max_length=depth)
    for _ in range(3):
        runner.pretend(1, depth - STEPS - 1)
        runner.decode([0])
    return [timed(lambda: runner.decode([0])) for _ in range(STEPS)]


def worker(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one contender in this process."""
    kind, source = arguments.worker, arguments.model
    batch = batch_of(arguments)
    with torch.inference_mode():
        if arguments.depths:
            steps = {
                depth: Genai(arguments.folder).steps(depth)
                if kind == GENAI
                else stepped(kind, source, depth)
                for depth in arguments.depths
            }
            return {str(depth): statistics.median(seconds) for depth, seconds in steps.items()}
        if kind == GENAI:
            contender = Genai(arguments.folder)
            contender.run(batch)
            seconds = contender.run(batch)
        else:
            served = Served(BACKENDS[kind](), source, batch, slots=1)
            served.run(batch)
            seconds, _ = served.run(batch)
    return {"tokens_per_second": sum(r.max_new_tokens for r in batch) / seconds}


def batch_of(arguments: argparse.Namespace) -> list[Request]:
    tokens = min(arguments.tokens, MAX_LENGTH - 97)  # next to the longest prompt
    return requests(arguments.requests, arguments.vocabulary, tokens)


def measured(arguments: argparse.Namespace, kind: str, folder: Path, vocabulary: int) -> Any:
    """Run one contender in a process of its own."""
    command = [
        *(sys.executable, __file__, "--worker", kind, "--model", arguments.model),
        *("--tokens", str(arguments.tokens), "--requests", str(arguments.requests)),
        *("--vocabulary", str(vocabulary), "--folder", str(folder)),
        *(["--depths", *map(str, arguments.depths)] if arguments.depths else []),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run all contenders in interleaved rounds and return their ratios to genai's."""
    model = reference(arguments.model)
    builder.run_builder(model.module, "cpu", folder)
    kinds = [GENAI, *arguments.contenders]
    rounds = [
        {kind: measured(arguments, kind, folder, model.vocabulary) for kind in kinds}
        for _ in range(arguments.rounds)
    ]
    return [_row(kind, rounds) for kind in kinds]


def _row(kind: str, rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return the medians over rounds; a ratio above 1 is faster than genai."""
    row: dict[str, Any] = {"contender": kind}
    for figure in rounds[0][kind]:
        row[figure] = statistics.median(times[kind][figure] for times in rounds)
        faster = [times[kind][figure] / times[GENAI][figure] for times in rounds]
        ratio = statistics.median(faster)
        row[f"{figure} ratio"] = ratio if figure == "tokens_per_second" else 1 / ratio
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--tokens", type=int, default=96, help="tokens per answer")
    parser.add_argument("--requests", type=int, default=3, help="one after the other")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved, each in new processes")
    parser.add_argument("--depths", type=int, nargs="+", help="of the cache, in tokens")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=BACKENDS,
        default=list(BACKENDS),
        help="compared with genai",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--vocabulary", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(arguments)))
        return
    with TemporaryDirectory(prefix="llmbench-") as folder:
        rows = compare(arguments, Path(folder))
    print(json.dumps(rows, indent=1)) if arguments.json else show(rows, arguments.model)


if __name__ == "__main__":
    main()
