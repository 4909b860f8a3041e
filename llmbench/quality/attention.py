"""Attention maps of a candidate and of the reference, by layer and head."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Return a prompt's attention weights, [heads, tokens, tokens], by layer of the whole model.

    A row has the weights of one token on each token up to itself. The model's attention is eager
    meanwhile, since other implementations return no weights.
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
    """Return the Jensen-Shannon divergence of each head in nats, [heads], averaged over tokens.

    JSD(P, Q) = (KL(P || M) + KL(Q || M)) / 2, where M = (P + Q) / 2 and P, Q are maps [heads,
    tokens, tokens]. It is 0 for equal maps and at most ln 2 (Lin, Divergence Measures Based on the
    Shannon Entropy, 1991).
    """
    middle = (candidate + reference) / 2
    halves = [
        torch.xlogy(one, one / middle.clamp(min=1e-30)).sum(-1) for one in (candidate, reference)
    ]
    return ((halves[0] + halves[1]) / 2).mean(-1).clamp(min=0)


def compare_attention(
    candidate: TorchModel, reference: TorchModel, ids: Sequence[int], options: ExplainOptions
) -> dict[str, Any]:
    """Return the comparison of two models' attention, as JSON data.

    ``divergence`` has one row per layer, in nats, None for a layer that the candidate lacks;
    ``maps`` the chosen layers and heads, or those with the largest divergence. Raise InputError for
    a layer or a head that the reference lacks.
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
    heads = len(next(iter(references.values())))
    every = [
        (layer, head)
        for layer in (references if options.layers is None else options.layers)
        for head in (range(heads) if options.heads is None else options.heads)
    ]
    if unknown := [
        (layer, head) for layer, head in every if layer not in references or head >= heads
    ]:
        layer, head = unknown[0]
        raise InputError(f"the reference has no head {head} in layer {layer}; both count from 0")
    if options.layers is not None and options.heads is not None:
        return every

    def divergence(layer_and_head: tuple[int, int]) -> float:
        layer, head = layer_and_head
        row = by_layer[layer]
        return -1.0 if row is None else float(row[head])

    return sorted(every, key=divergence, reverse=True)[:MAX_MAPS]


def _rounded(tensor: Tensor) -> Any:
    return (
        [_rounded(row) for row in tensor]
        if tensor.ndim > 1
        else [round(value, DIGITS) for value in tensor.tolist()]
    )
