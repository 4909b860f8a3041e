"""Where a model looks, layer by layer and head by head, beside where the reference looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llmbench.errors import InputError
from llmbench.models.loading import TorchModel
from llmbench.scenario.schema import ExplainOptions

DIGITS = 4
MOST_MAPS = 4


@torch.inference_mode()
def maps(model: TorchModel, ids: Sequence[int]) -> dict[int, Tensor]:
    """Give the attention of a prompt, [heads, tokens, tokens], by layer as the whole model counts.

    A row says how much a token looks at each one before it. The model's attention is made eager
    meanwhile, since other implementations do not keep the weights.
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
    """Give the Jensen-Shannon divergence of each head, [heads], in nats, the mean over tokens.

    Both maps are [heads, tokens, tokens]. It is 0 for equal maps and at most ln 2 (Lin, Divergence
    Measures Based on the Shannon Entropy, 1991).
    """
    middle = (candidate + reference) / 2
    halves = [
        torch.xlogy(one, one / middle.clamp(min=1e-30)).sum(-1) for one in (candidate, reference)
    ]
    return ((halves[0] + halves[1]) / 2).mean(-1).clamp(min=0)


def compared(
    candidate: TorchModel, reference: TorchModel, ids: Sequence[int], asked: ExplainOptions
) -> dict[str, Any]:
    """Hold the attention of two models side by side, as plain data to be stored.

    ``divergence`` has a row a layer, in nats, None for a layer that the candidate has lost;
    ``maps`` the chosen layers and heads, or those where the two part most. Raises InputError for a
    layer or a head that the reference does not have.
    """
    candidates, references = maps(candidate, ids), maps(reference, ids)
    by_layer = {
        n: divergences(candidates[n], references[n]) if n in candidates else None
        for n in references
    }
    chosen = _chosen(by_layer, references, asked)
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
    by_layer: dict[int, Tensor | None], references: dict[int, Tensor], asked: ExplainOptions
) -> list[tuple[int, int]]:
    heads = len(next(iter(references.values())))
    every = [
        (layer, head)
        for layer in (references if asked.layers is None else asked.layers)
        for head in (range(heads) if asked.heads is None else asked.heads)
    ]
    if lost := [(layer, head) for layer, head in every if layer not in references or head >= heads]:
        layer, head = lost[0]
        raise InputError(f"the reference has no head {head} in a layer {layer}, both from 0")
    if asked.layers is not None and asked.heads is not None:
        return every

    def parted(place: tuple[int, int]) -> float:
        row = by_layer[place[0]]
        return -1.0 if row is None else float(row[place[1]])

    return sorted(every, key=parted, reverse=True)[:MOST_MAPS]


def _rounded(tensor: Tensor) -> Any:
    return (
        [_rounded(row) for row in tensor]
        if tensor.ndim > 1
        else [round(value, DIGITS) for value in tensor.tolist()]
    )
