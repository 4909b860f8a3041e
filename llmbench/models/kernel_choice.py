"""Choose at which batch sizes the compiler generates a model's products, by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from llmbench.models.kernels import generated_product

Product = Callable[[Tensor, Tensor], Tensor]
Compile = Callable[[Callable[..., Any]], Callable[..., Any]]

SAMPLE_BYTES = 128 * 2**20  # more than the caches of a CPU hold
ROUNDS = 7


def fastest(
    probes: Mapping[str, Callable[[], object]], now: Callable[[], float] = time.perf_counter
) -> str:
    """Return the name of the probe with the smallest median time; the first one wins ties.

    Probes alternate; their first calls, which compile, are not timed.
    """
    for probe in probes.values():
        probe()
    times: dict[str, list[float]] = {name: [] for name in probes}
    for _ in range(ROUNDS):
        for name, probe in probes.items():
            began = now()
            probe()
            times[name].append(now() - began)
    return min(times, key=lambda name: median(times[name]))


@torch.inference_mode()
def probes_of(
    layers: Sequence[nn.Linear], rows: int, compile_step: Compile
) -> dict[str, Callable[[], list[Tensor]]]:
    """Return a probe for each kind of product, which runs a sample of the layers.

    Only the generated products are compiled: the library's are the same in a compiled step.
    """
    weights = [layer.weight.detach() for layer in _sample(layers)]
    inputs = {
        size: torch.ones(rows, size, dtype=weights[0].dtype, device=weights[0].device)
        for size in {weight.shape[1] for weight in weights}
    }
    runs: dict[str, Callable[..., Any]] = {
        "library": partial(_run, nn.functional.linear),
        "generated": compile_step(partial(_run, generated_product)),
    }
    return {
        name: torch.inference_mode()(partial(run, inputs, weights)) for name, run in runs.items()
    }


def _run(product: Product, inputs: dict[int, Tensor], weights: list[Tensor]) -> list[Tensor]:
    return [product(inputs[weight.shape[1]], weight) for weight in weights]


def _sample(layers: Sequence[nn.Linear]) -> list[nn.Linear]:
    """Return the first layers, up to SAMPLE_BYTES and at least one, and the last (the head)."""
    sample, total = [], 0
    for layer in layers[:-1]:
        if total >= SAMPLE_BYTES:
            break
        sample.append(layer)
        total += layer.weight.nbytes
    return [*sample, layers[-1]]
