"""Tokens per second of the engine against transformers' own generate, in one run, interleaved.

    python benchmarks/against_generate.py                         # random:smollm2-135m
    python benchmarks/against_generate.py --model builtin:tiny --json

1. One request at a time: the engine with one slot against generate.
2. Many requests: the engine with continuous batching against generate, one after the other.
Outputs are compared token for token. Needs: pip install -e '.[onnx]'
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from llmbench import models
from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.backends.local import LocalBackend
from llmbench.backends.onnx import Onnx
from llmbench.backends.torch.compiled import Compiled
from llmbench.backends.torch.eager import Eager
from llmbench.engine.engine import Engine
from llmbench.engine.sampling import Greedy
from llmbench.engine.warmup import warmup_steps
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.models.loading import TorchModel
from llmbench.runs.request import Request
from llmbench.scenario.schema import EngineOptions, ModelOptions

MAX_LENGTH = 256
Answered = tuple[float, list[list[int]]]  # seconds, and the ids of each answer


def backends(attention: str) -> dict[str, LocalBackend[Any]]:
    compiled = Compiled.Options.model_validate({"attention": attention})
    return {
        "eager": Eager(Eager.Options()),
        "compiled": Compiled(compiled),
        "onnx": Onnx(Onnx.Options()),
    }


def requests(number: int, vocabulary: int, tokens: int) -> list[Request]:
    """Ragged prompts of 16 to 96 tokens, answers of the given length."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(16, 97, number)
    return [
        Request(index, tuple(rng.integers(0, vocabulary, length).tolist()), tokens)
        for index, length in enumerate(lengths)
    ]


def reference(source: str) -> TorchModel:
    model = models.load_model(ModelOptions(source=source))
    model.module.generation_config.eos_token_id = None
    return model


class Served:
    """A warm engine of a backend on its model."""

    def __init__(
        self, backend: LocalBackend[Any], source: str, batch: Sequence[Request], slots: int
    ) -> None:
        load_shape = LoadShape(tuple(sorted({len(r.prompt) for r in batch})), MAX_LENGTH)
        context = OpenContext(ModelOptions(source=source), load_shape, EngineOptions(slots=slots))
        buckets = backend.buckets(load_shape, slots, MAX_LENGTH)
        self.runner = backend.runner(
            backend.load(context), buckets, Greedy(), slots=slots, max_length=MAX_LENGTH
        )
        self.slots = slots
        for step in warmup_steps(self.runner, backend.warmup_shapes(buckets, load_shape)).values():
            step()

    def run(self, batch: Sequence[Request]) -> Answered:
        """Serve all requests at once; return the seconds and the answers."""
        engine = Engine(self.runner, MonotonicClock(), slots=self.slots, keep_outputs=True)
        stop = Stop(requests=len(batch))
        with frozen_gc():
            began = time.perf_counter()
            records = engine.serve(Dispatch(batch, Scheduled(np.zeros(len(batch))), stop))
            seconds = time.perf_counter() - began
        ordered = sorted(records, key=lambda record: record.request_id)
        return seconds, [list(record.output_ids or ()) for record in ordered]


def generated(model: Any, batch: Sequence[Request]) -> Answered:
    """Answer one request after the other with generate."""
    answers = []
    began = time.perf_counter()
    for request in batch:
        prompt = torch.tensor([request.prompt], device=model.device)
        tokens = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        answers.append(tokens[0, prompt.shape[1] :].tolist())
    return time.perf_counter() - began, answers


def compare(
    backend: LocalBackend[Any], source: str, batch: Sequence[Request], slots: int, pairs: int
) -> dict[str, Any]:
    served = Served(backend, source, batch, slots)
    turns: dict[str, Callable[[Sequence[Request]], Answered]] = {
        "engine": served.run,
        "generate": partial(generated, reference(source).module),
    }
    tokens = sum(request.max_new_tokens for request in batch)
    speeds: dict[str, list[float]] = {name: [] for name in turns}
    equal = True
    for pair in range(pairs):
        answered = {name: turns[name](batch) for name in sorted(turns, reverse=bool(pair % 2))}
        for name, (seconds, _) in answered.items():
            speeds[name].append(tokens / seconds)
        equal = equal and answered["engine"][1] == answered["generate"][1]
    ratios = [a / b for a, b in zip(speeds["engine"], speeds["generate"], strict=True)]
    return {
        "slots": slots,
        "requests": len(batch),
        "engine_tokens_per_second": statistics.median(speeds["engine"]),
        "generate_tokens_per_second": statistics.median(speeds["generate"]),
        "ratio": statistics.median(ratios),
        "tokens_equal": equal,
    }


def show(rows: list[dict[str, Any]], title: str) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:smollm2-135m")
    parser.add_argument("--tokens", type=int, default=48, help="tokens per answer")
    parser.add_argument("--requests", type=int, default=16, help="for the comparison of batches")
    parser.add_argument("--pairs", type=int, default=4, help="interleaved pairs for each ratio")
    parser.add_argument("--attention", default="sdpa-grouped", help="of the compiled engine")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with torch.inference_mode():
        vocabulary = reference(arguments.model).vocabulary
        many = requests(arguments.requests, vocabulary, arguments.tokens)
        rows = [
            {"backend": kind} | compare(backend, arguments.model, batch, slots, arguments.pairs)
            for kind, backend in backends(arguments.attention).items()
            for batch, slots in ((many[:2], 1), (many, 8))
        ]
    print(json.dumps(rows, indent=1)) if arguments.json else show(rows, arguments.model)


if __name__ == "__main__":
    main()
