"""Attention maps of the candidate and the reference, and their divergence per layer and head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from llmbench.errors import InputError
from llmbench.models.loading import TorchModel
from llmbench.scenario.schema import ExplainOptions

DIGITS = 4
MAX_MAPS = 4


@torch.inference_mode()
def maps(model: TorchModel, ids: Sequence[int]) -> dict[int, Tensor]:
    """Return a prompt's attention weights by layer number, as tensors [heads, tokens, tokens].

    Layers are numbered as in the complete model. Each row has one token's weights on itself and
    all previous tokens. Uses eager attention, since other implementations return no weights.
    """
    module = model.module
    before = module.config._attn_implementation  # noqa: SLF001 (transformers has no public name)
    module.set_attn_implementation("eager")
    try:
        prompt = torch.tensor([list(ids)], device=model.device)
        attended = module(prompt, output_attentions=True, use_cache=False).attentions
    finally:
        module.set_attn_implementation(before)
    count = len(attended) + len(model.dropped_layers)
    kept = [number for number in range(count) if number not in model.dropped_layers]
    return {n: layer[0].float().cpu() for n, layer in zip(kept, attended, strict=True)}


def divergences(candidate: Tensor, reference: Tensor) -> Tensor:
    """Return each head's mean Jensen-Shannon divergence between two maps over tokens, in nats.

    JSD(P, Q) = (KL(P || M) + KL(Q || M)) / 2, where P and Q are a token's weights in the two
    maps [heads, tokens, tokens] and M = (P + Q) / 2. It is 0 for equal maps and at most ln 2 (Lin,
    Divergence Measures Based on the Shannon Entropy, 1991).
    """
    middle = (candidate + reference) / 2
    halves = [
        torch.xlogy(one, one / middle.clamp(min=1e-30)).sum(-1) for one in (candidate, reference)
    ]
    return ((halves[0] + halves[1]) / 2).mean(-1).clamp(min=0)


def compare_attention(
    candidate: TorchModel, reference: TorchModel, ids: Sequence[int], options: ExplainOptions
) -> dict[str, Any]:
    """Compare the attention of two models on a prompt; return JSON data.

    ``divergence`` has one row per layer with each head's divergence in nats, or None for a layer
    that the candidate lacks. ``maps`` has the attention maps of the selected layers and heads;
    unless both options are set, only the MAX_MAPS with the largest divergence. Raise InputError if
    the reference lacks a selected layer or head.
    """
    candidates, references = maps(candidate, ids), maps(reference, ids)
    by_layer = {
        n: divergences(candidates[n], references[n]) if n in candidates else None
        for n in references
    }
    chosen = _chosen(by_layer, references, options)
    return {
        "divergence": [None if row is None else _rounded(row) for row in by_layer.values()],
        "maps": [
            {
                "layer": layer,
                "head": head,
                "candidate": _rounded(candidates[layer][head]) if layer in candidates else None,
                "reference": _rounded(references[layer][head]),
            }
            for layer, head in chosen
        ],
    }


def _chosen(
    by_layer: dict[int, Tensor | None], references: dict[int, Tensor], options: ExplainOptions
) -> list[tuple[int, int]]:
    count = len(next(iter(references.values())))
    layers = references if options.layers is None else options.layers
    heads = range(count) if options.heads is None else options.heads
    every = list(product(layers, heads))
    for layer, head in every:
        if layer not in references or head >= count:
            message = f"the reference has no head {head} in layer {layer}"
            raise InputError(f"{message}; layers and heads are numbered from 0")
    if options.layers is not None and options.heads is not None:
        return every

    def divergence(layer_and_head: tuple[int, int]) -> float:
        layer, head = layer_and_head
        row = by_layer[layer]
        return -1.0 if row is None else float(row[head])

    return sorted(every, key=divergence, reverse=True)[:MAX_MAPS]


def _rounded(tensor: Tensor) -> Any:
    return tensor.double().round(decimals=DIGITS).tolist()
