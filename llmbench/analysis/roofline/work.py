"""Minimum bytes and FLOPs of a model's steps, counted from its shapes and the records.

Bytes are those that must come from memory: all weights once per step, as stored, and the attended
part of the KV cache. docs/metrics.md has the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.stats import Floats

Ints = NDArray[np.int64]


def attended(length: Ints, window: int | None) -> Floats:
    """Return the number of query-key pairs of a causal prefill of ``length`` tokens.

    Σ min(i, w) for i = 1 ... S, where S is the length and w the sliding window (None: no window).
    """
    beyond = np.maximum(length - window, 0) if window is not None else np.zeros_like(length)
    within = (length - beyond).astype(np.float64)
    return within * (within + 1) / 2 + beyond * float(window or 0)


@dataclass(frozen=True, slots=True)
class LayerCosts:
    """``count`` layers of equal shape.

    ``window`` is the maximum number of positions that a token attends to, including itself (None:
    all preceding ones).
    """

    count: int
    heads: int
    kv_heads: int
    head_size: int
    window: int | None = None

    @property
    def states(self) -> int:
        """The number of elements (keys and values) that these layers cache per position."""
        return 2 * self.count * self.kv_heads * self.head_size

    @property
    def flops_per_pair(self) -> int:
        """FLOPs of a query with one key and value: two multiply-adds per element."""
        return 4 * self.count * self.heads * self.head_size


@dataclass(frozen=True, slots=True)
class ModelCosts:
    """The weights and shapes that determine the work of a model's steps, on any runner.

    Bytes are as stored. Each step reads ``matmul_bytes`` (matrices with scales and biases,
    including the head) and ``other_bytes`` (norms etc.). From the embedding tables
    (``embedding_bytes``) it reads ``embedding_row_bytes`` per token; a table ``tied`` to the head
    counts as a matrix. Parameters count the matrices' elements before packing;
    ``matmul_parameters`` excludes the head. ``state_bytes`` is the size of one number in the KV
    cache.
    """

    matmul_bytes: int
    other_bytes: int
    embedding_bytes: int
    embedding_row_bytes: int
    matmul_parameters: int
    head_parameters: int
    vocabulary: int
    tied: bool
    state_bytes: int
    layers: tuple[LayerCosts, ...]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> ModelCosts:
        """Return the costs stored in a run."""
        layers = tuple(LayerCosts(**layer) for layer in stored["layers"])
        return cls(**{**stored, "layers": layers})

    @property
    def step_bytes(self) -> int:
        """Bytes of weights that every step reads."""
        return self.matmul_bytes + self.other_bytes

    @property
    def kv_token_bytes(self) -> int:
        """Bytes of one position in the KV cache, over all layers."""
        return self.state_bytes * sum(layer.states for layer in self.layers)

    def kv_read_bytes(self, first: Ints, last: Ints) -> Floats:
        """Return the KV-cache bytes read by tokens that attend to first, ..., last positions."""
        return self.state_bytes * self._over_layers("states", first, last)

    def attention_flops(self, first: Ints, last: Ints) -> Floats:
        """Return the attention FLOPs of tokens that attend to first, ..., last positions."""
        return self._over_layers("flops_per_pair", first, last)

    def _over_layers(self, weight: str, first: Ints, last: Ints) -> Floats:
        total = np.zeros(np.shape(last))
        for layer in self.layers:
            pairs = attended(last, layer.window) - attended(first - 1, layer.window)
            total += getattr(layer, weight) * pairs
        return total

    def decode(self, steps: int, seconds: float, first: Ints, last: Ints) -> Work:
        """Return the work of decode steps in which each row attends to first, ..., last positions.

        bytes = steps W + T (e + kv) + Σ kv min(d, w)
        FLOPs = 2 T N + Σ a min(d, w)

        where T is the number of tokens (last − first + 1 per row), W the weight bytes per step, e
        the bytes of an embedding row, kv those of a cached position, d the number of positions a
        token attends to, w the sliding window of a layer, N the parameters of all matrices and a
        the attention FLOPs per position. Sums are over tokens and layers.
        """
        tokens = int((last - first + 1).sum())
        moved = self._weight_and_token_bytes(steps, tokens)
        moved += float(self.kv_read_bytes(first, last).sum())
        products = 2.0 * (self.matmul_parameters + self.head_parameters) * tokens
        flops = products + float(self.attention_flops(first, last).sum())
        return Work(steps, seconds, moved, flops)

    def prefill(self, steps: int, seconds: float, prompts: Ints, cached: Ints | int = 0) -> Work:
        """Return the work of prefill steps, given the tokens of their prompts and the cached ones.

        bytes = steps W + T (e + kv) + kv C
        FLOPs = 2 (T (N − N_head) + n N_head) + Σ a min(i, w)

        where n is the number of prompts, C their cached and T their other tokens, N_head the number
        of parameters of the head, which processes only the last token of a prompt, and i the
        position of a token that is not cached; other symbols are those of decode. Other attended
        keys and values have just been computed, so they are written and not read.
        """
        cached = np.zeros_like(prompts) + cached
        tokens = int((prompts - cached).sum())
        products = 2.0 * (self.matmul_parameters * tokens + self.head_parameters * len(prompts))
        flops = products + float(self.attention_flops(cached + 1, prompts).sum())
        moved = self._weight_and_token_bytes(steps, tokens)
        return Work(steps, seconds, moved + float(self.kv_token_bytes * cached.sum()), flops)

    def _weight_and_token_bytes(self, steps: int, tokens: int) -> float:
        """Return steps W + T (e + kv): the bytes moved except for cached keys and values read."""
        token_bytes = self.embedding_row_bytes + self.kv_token_bytes
        return float(steps * self.step_bytes + tokens * token_bytes)


@dataclass(frozen=True, slots=True)
class Work:
    """Steps of one kind: their number, seconds, bytes and FLOPs."""

    steps: int
    seconds: float
    moved_bytes: float
    flops: float

    def bandwidth_share(self, peak: float) -> float | None:
        """Return bytes per second as a fraction of the peak in bytes/s; None without steps."""
        return self.moved_bytes / self.seconds / peak if self.steps else None

    def compute_share(self, peak: float) -> float | None:
        """Return FLOPs per second as a fraction of the peak in FLOP/s; None without steps."""
        return self.flops / self.seconds / peak if self.steps else None
