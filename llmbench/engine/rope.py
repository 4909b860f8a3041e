"""Rotary embeddings whose factors depend on the longest sequence of a batch.

transformers recomputes the factors of the RoPE types ``dynamic`` and ``longrope`` in each forward
pass from the largest position of the batch. Keys in the engine's cache come from many steps, so the
factors are pinned to those of short sequences; longer sequences are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel

from llmbench.errors import InputError
from llmbench.models.loading import TorchModel

Model = TypeVar("Model", bound=TorchModel)

PINNED = "default"  # a RoPE type that transformers never recomputes


@dataclass(frozen=True, slots=True)
class _Varying:
    """Rotary embeddings, of one layer type if they differ, that change beyond ``limit`` tokens."""

    module: Any
    layer_type: str | None
    kind: str
    limit: int

    @torch.no_grad()
    def pin(self) -> None:
        """Keep the factors of sequences up to the limit, whatever was computed before."""
        prefix = f"{self.layer_type}_" if self.layer_type else ""
        factors = getattr(self.module, f"{prefix}inv_freq")
        factors.copy_(getattr(self.module, f"{prefix}original_inv_freq"))
        types = self.module.rope_type
        self.module.rope_type = {**types, self.layer_type: PINNED} if prefix else PINNED


def pinned(model: Model, longest: int) -> Model:
    """Pin a model's varying RoPE factors; return the model with its context limited accordingly.

    A model without such factors is returned unchanged. Raise InputError if sequences of ``longest``
    tokens would change them.
    """
    kinds = pin(model.module, longest)
    if not kinds:
        return model
    limit = min(kinds.values())
    fact = f"{', '.join(kinds)}: pinned to the factors for up to {limit:,} tokens"
    return replace(
        model,
        context_length=min(limit, model.context_length or limit),
        effective={**model.effective, "rope": fact},
    )


def pin(module: PreTrainedModel, longest: int) -> dict[str, int]:
    """Pin a module's varying RoPE factors in place; return the limit in tokens of each RoPE type.

    Raise InputError if sequences of ``longest`` tokens would change the factors.
    """
    varying = list(_varying(module))
    for rotary in varying:
        if longest > rotary.limit:
            raise InputError(
                f"model: {type(module).__name__} has rotary embeddings of type {rotary.kind}, "
                f"whose factors change for the whole batch beyond {rotary.limit:,} tokens, but the "
                f"longest request has {longest:,} (prompt and output); use requests of up to "
                f"{rotary.limit:,} tokens, or the endpoint backend"
            )
        rotary.pin()
    return {rotary.kind: rotary.limit for rotary in varying}


def _varying(module: PreTrainedModel) -> Iterator[_Varying]:
    for inner in module.modules():
        types = getattr(inner, "rope_type", None)
        by_layer = types if isinstance(types, dict) else {None: types}
        for layer_type, kind in by_layer.items():
            if isinstance(kind, str) and (kind == "longrope" or "dynamic" in kind):
                yield _Varying(inner, layer_type, kind, _limit(inner, layer_type, kind))


def _limit(rotary: Any, layer_type: str | None, kind: str) -> int:
    """Return the longest sequence with the original factors, in tokens."""
    if kind != "longrope":
        return int(rotary.original_max_seq_len)
    parameters = rotary.config.rope_parameters
    chosen = parameters[layer_type] if layer_type else parameters
    return int(chosen["original_max_position_embeddings"])
