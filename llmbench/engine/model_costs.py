"""The weights and layer shapes that determine the cost of a step, read from a torch module."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from llmbench.analysis.roofline.work import LayerCosts, ModelCosts
from llmbench.errors import Unavailable
from llmbench.models.architecture import SLIDING
from llmbench.models.loading import stored_bytes, weight_bytes

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def costs_of(model: PreTrainedModel) -> ModelCosts:
    """Return the bytes and parameters that a model's steps use, with weights as currently stored.

    No step is run, so that the model's first one is still cold. Raise Unavailable for mixtures of
    experts and for head counts that differ between layers.
    """
    config = model.config.get_text_config()
    _refuse_uncountable(config)
    head: nn.Module = model.get_output_embeddings()
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m is not head]
    matrices = [m for m in model.modules() if _size(m) and m is not head]
    apart = [table for table in tables if getattr(head, "weight", None) is not table.weight]
    matmul_bytes, embedding_bytes = stored_bytes([*matrices, head]), stored_bytes(apart)
    return ModelCosts(
        matmul_bytes=matmul_bytes,
        other_bytes=weight_bytes(model) - matmul_bytes - embedding_bytes,
        embedding_bytes=embedding_bytes,
        embedding_row_bytes=sum(t.weight.shape[1] * t.weight.element_size() for t in tables),
        matmul_parameters=sum(map(_size, matrices)),
        head_parameters=_size(head),
        vocabulary=int(config.vocab_size),
        tied=len(apart) < len(tables),
        state_bytes=model.dtype.itemsize,
        layers=_layers(config),
    )


def _refuse_uncountable(config: Any) -> None:
    if any((getattr(config, name, None) or 0) > 1 for name in EXPERTS):
        raise Unavailable("the experts that a step reads depend on its tokens")
    if not isinstance(config.num_attention_heads, int):
        raise Unavailable("the number of attention heads differs between layers")


def _size(module: nn.Module) -> int:
    """Return the number of weights in a linear layer's matrix; 0 for other modules.

    Packed weights count as unpacked: input times output features (nx and nf in GPT-2's Conv1D).
    """
    sizes = (("in_features", "out_features"), ("nx", "nf"))
    pairs = ([vars(module).get(name, 0) for name in pair] for pair in sizes)
    return max(int(inputs * outputs) for inputs, outputs in pairs)


def _layers(config: Any) -> tuple[LayerCosts, ...]:
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    window = getattr(config, "sliding_window", None)
    # without layer types, a sliding window applies to all layers
    kinds = getattr(config, "layer_types", None) or [SLIDING] * config.num_hidden_layers
    windows = Counter(window if kind == SLIDING else None for kind in kinds)
    return tuple(
        LayerCosts(count, heads, kv_heads, head_size, window) for window, count in windows.items()
    )
