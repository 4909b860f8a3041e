"""Choose the fastest kind of a model's products for each batch size, by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from llmbench.models.products import (
    Product,
    can_be_packed,
    generated_product,
    most_generated_rows,
    packed_product,
    packed_weight,
)

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]

SAMPLE_BYTES = 128 * 2**20  # more than the caches of a CPU hold
ROUNDS = 7


def fastest(
    probes: Mapping[Product, Callable[[], object]], now: Callable[[], float] = time.perf_counter
) -> Product:
    """Return the kind of product whose probe has the smallest median time; the first wins ties.

    Probes alternate; their first calls, which compile, are not timed.
    """
    for probe in probes.values():
        probe()
    times: dict[Product, list[float]] = {name: [] for name in probes}
    for _ in range(ROUNDS):
        for name, probe in probes.items():
            began = now()
            probe()
            times[name].append(now() - began)
    return min(times, key=lambda name: median(times[name]))


def fastest_products(
    layers: Sequence[nn.Linear], sizes: Sequence[int], compile_step: Compile
) -> dict[int, Product]:
    """Return the fastest kind of product for each of the batch sizes, which ascend.

    The time of generated products grows with the rows: where others are faster, they are for all
    larger sizes, too.
    """
    chosen: dict[int, Product] = {}
    most_generated = most_generated_rows(layers[0].weight.device)
    for rows in sizes:
        probes = probes_of(layers, rows, compile_step, generated=rows <= most_generated)
        chosen[rows] = fastest(probes)
        if chosen[rows] != "generated":
            most_generated = 0
    return chosen


@torch.inference_mode()
def probes_of(
    layers: Sequence[nn.Linear], rows: int, compile_step: Compile, *, generated: bool
) -> dict[Product, Callable[[], list[Tensor]]]:
    """Return a probe for each kind of product, which runs a sample of the layers.

    Only the generated products are compiled: the others are the same in a compiled step.
    """
    weights = [layer.weight.detach() for layer in _sample(layers)]
    inputs = [
        torch.ones(rows, weight.shape[1], dtype=weight.dtype, device=weight.device)
        for weight in weights
    ]
    runs: dict[Product, Callable[[], list[Tensor]]] = {
        "library": partial(_run, nn.functional.linear, inputs, weights)
    }
    if generated:
        runs["generated"] = partial(compile_step(partial(_run, generated_product)), inputs, weights)
    if all(map(can_be_packed, weights)):
        packed = [packed_weight(weight, rows) for weight in weights]
        runs["packed"] = partial(_run, packed_product, inputs, packed)
    return {kind: torch.inference_mode()(run) for kind, run in runs.items()}


def _run(
    product: Callable[[Tensor, Tensor], Tensor], inputs: list[Tensor], weights: list[Tensor]
) -> list[Tensor]:
    return [product(rows, weight) for rows, weight in zip(inputs, weights, strict=True)]


def _sample(layers: Sequence[nn.Linear]) -> list[nn.Linear]:
    """Return the first layers, up to SAMPLE_BYTES and at least one, and the last (the head)."""
    sample, total = [], 0
    for layer in layers[:-1]:
        if total >= SAMPLE_BYTES:
            break
        sample.append(layer)
        total += layer.weight.nbytes
    return [*sample, layers[-1]]
