"""Tokens per second of the engine against transformers' own generate and generate_batch.

    python benchmarks/against_generate.py                         # random:smollm2-135m
    python benchmarks/against_generate.py --model builtin:tiny --json
    python benchmarks/against_generate.py --parts batched --slots 16 --tokens 64

Three parts, in each of which all contenders are warm and take turns in rotated order:
1. single: one request at a time, the engine with one slot against generate.
2. many: many requests, the engine with continuous batching against generate, one after the other.
3. batched: many requests, the engine against transformers' continuous batching (generate_batch).
Outputs are compared token for token. Needs: pip install -e '.[onnx]'
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import ContinuousBatchingConfig, GenerationConfig

from llmbench import models
from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.backends.local import LocalBackend, prefill_tokens_of, shared_totals
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
PARTS = ("single", "many", "batched")
Answered = tuple[float, list[list[int]]]  # seconds, and the ids of each answer
Contender = Callable[[Sequence[Request]], Answered]


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

    @torch.inference_mode()
    def __init__(
        self, backend: LocalBackend[Any], source: str, batch: Sequence[Request], slots: int
    ) -> None:
        load_shape = LoadShape(tuple(sorted({len(r.prompt) for r in batch})), MAX_LENGTH)
        context = OpenContext(ModelOptions(source=source), load_shape, EngineOptions(slots=slots))
        buckets = backend.buckets(load_shape, slots, MAX_LENGTH)
        model = backend.load(context)
        self.runner = backend.runner(model, buckets, Greedy(), slots=slots, max_length=MAX_LENGTH)
        self.slots = slots
        self.prefill_tokens = prefill_tokens_of(context.engine, self.runner, model.device)
        totals = backend.warmup_totals(
            buckets, shared_totals(load_shape, slots, self.prefill_tokens)
        )
        steps = warmup_steps(self.runner, backend.warmup_shapes(buckets, load_shape), totals)
        for step in steps.values():
            step()

    @torch.inference_mode()
    def run(self, batch: Sequence[Request]) -> Answered:
        """Serve all requests at once; return the seconds and the answers."""
        engine = Engine(
            self.runner,
            MonotonicClock(),
            slots=self.slots,
            prefill_tokens=self.prefill_tokens,
            keep_outputs=True,
        )
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


@contextmanager
def generate_batch(model: Any, slots: int, page: int) -> Iterator[Contender]:
    """Yield transformers' continuous batching, with the thread that generates running.

    Its cache has room for twice the sequences: its scheduler admits none to a nearly full one.
    """
    sizes = ContinuousBatchingConfig(
        page_size=page,
        num_blocks=2 * slots * ceil(MAX_LENGTH / page),
        max_requests_per_batch=slots,
        max_batch_tokens=MAX_LENGTH * slots,
        allow_block_sharing=False,
    )
    with model.continuous_batching_context_manager(
        generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
        continuous_batching_config=sizes,
    ) as manager:
        yield partial(_batched, manager)


def _batched(manager: Any, batch: Sequence[Request]) -> Answered:
    answers: dict[str, list[int]] = {}
    began = time.perf_counter()
    names = [
        manager.add_request(list(request.prompt), max_new_tokens=request.max_new_tokens)
        for request in batch
    ]
    while len(answers) < len(batch):
        if answer := manager.get_result(timeout=1):
            answers[answer.request_id] = answer.generated_tokens
        elif not manager.is_running():
            raise RuntimeError("transformers' thread for generation has ended")
    return time.perf_counter() - began, [answers[name] for name in names]


def compare(
    contenders: dict[str, Contender], batch: Sequence[Request], rounds: int
) -> list[dict[str, Any]]:
    """Let all contenders take turns; compare each with the last one, transformers."""
    tokens = sum(request.max_new_tokens for request in batch)
    *engines, reference = contenders
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    different: set[str] = set()
    for turn in range(rounds):
        order = np.roll(list(contenders), turn).tolist()
        answered = {name: contenders[name](batch) for name in order}
        for name, (seconds, answers) in answered.items():
            speeds[name].append(tokens / seconds)
            if answers != answered[reference][1]:
                different.add(name)
    return [
        {
            "backend": name,
            "requests": len(batch),
            "tokens_per_second": statistics.median(speeds[name]),
            f"{reference}_tokens_per_second": statistics.median(speeds[reference]),
            "ratio": statistics.median(
                a / b for a, b in zip(speeds[name], speeds[reference], strict=True)
            ),
            "tokens_equal": name not in different,
        }
        for name in engines
    ]


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
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--tokens", type=int, default=48, help="tokens per answer")
    parser.add_argument("--requests", type=int, default=16, help="of the parts with many")
    parser.add_argument("--slots", type=int, default=8, help="of the parts with many")
    parser.add_argument("--page", type=int, default=256, help="tokens of a page of generate_batch")
    parser.add_argument("--pairs", type=int, default=4, help="turns of each contender")
    parser.add_argument("--attention", default="sdpa-grouped", help="of the compiled engine")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.WARNING)
    results = {}
    model = reference(arguments.model)
    many = requests(arguments.requests, model.vocabulary, arguments.tokens)
    for part in arguments.parts:
        batch, slots = (many[:2], 1) if part == "single" else (many, arguments.slots)
        engines: dict[str, Contender] = {
            kind: Served(backend, arguments.model, batch, slots).run
            for kind, backend in backends(arguments.attention).items()
        }
        if part == "batched":
            with generate_batch(model.module, slots, arguments.page) as batched:
                batched(batch)  # warm-up
                contenders = {**engines, "generate_batch": batched}
                results[part] = compare(contenders, batch, arguments.pairs)
        else:
            contenders = {**engines, "generate": partial(generated, model.module)}
            results[part] = compare(contenders, batch, arguments.pairs)
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        for part, rows in results.items():
            show(rows, f"{part}, {arguments.model}")


if __name__ == "__main__":
    main()
