"""Attention that torch and transformers lack, for compiled steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

UNGROUPED: Any = SimpleNamespace(is_causal=False)


def register_attention() -> None:
    """Register the attention implementation ``sdpa-grouped`` in transformers."""
    AttentionInterface.register("sdpa-grouped", sdpa_grouped)
    AttentionMaskInterface.register("sdpa-grouped", sdpa_mask)


def sdpa_grouped(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """In decode steps, attend with grouped query heads without repeating keys and values.

    ``query`` is [batch, heads, queries, head size], ``key`` and ``value`` [batch, KV heads, keys,
    head size], the result [batch, queries, heads, head size]. When compiled, transformers' own
    attention repeats all keys and values, which takes longer than the attention itself.
    """
    batch, heads, queries, size = query.shape
    shared = key.shape[1]
    if queries > 1 or heads == shared:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    rows = query.reshape(batch, shared, heads // shared, size)
    attended, _ = sdpa_attention_forward(UNGROUPED, rows, key, value, attention_mask, **options)
    return attended.transpose(1, 2).reshape(batch, 1, heads, -1), None
