"""What the steps of a model move and multiply at the least, counted from its shapes.

Bytes are those that must come from memory: every weight once a step, as it is stored, and of the
KV cache what rows attend to. Formulas and their sources stand in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OTHER_LOAD_PERCENT = 10.0

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def attended(length: Ints, window: int | None) -> Floats:
    """Sum up what each of the first tokens attends to: 1, 2, 3, ... and at most the window.

    It is the number of query and key pairs of a prefill of ``length`` tokens.
    """
    beyond = np.maximum(length - window, 0) if window is not None else np.zeros_like(length)
    within = (length - beyond).astype(np.float64)
    return within * (within + 1) / 2 + beyond * float(window or 0)


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """Layers that are alike, ``count`` of them.

    ``window`` is to how many positions a token attends at the most, itself included (None: to all
    before it).
    """

    count: int
    heads: int
    kv_heads: int
    head_size: int
    window: int | None = None

    @property
    def states(self) -> int:
        """Numbers that these layers keep of one position, keys and values."""
        return 2 * self.count * self.kv_heads * self.head_size

    @property
    def flops_per_pair(self) -> int:
        """FLOPs of one query with one key and its value: a product and a sum for each number."""
        return 4 * self.count * self.heads * self.head_size


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's steps read and multiply, whatever runs them.

    Bytes are as stored: ``matmul_bytes`` of the matrices with their scales and biases, the head
    among them, ``other_bytes`` of norms and the like; every step reads both whole. Of the tables of
    embeddings (``embedding_bytes``) it reads ``embedding_row_bytes`` a token. A table that is
    ``tied`` to the head is among the matrices. Parameters count the numbers of the matrices before
    any packing, ``matmul_parameters`` without those of the head. ``state_bytes`` is the size of a
    number in the KV cache.
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
    layers: tuple[LayerFacts, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> ModelFacts:
        """Read back what an account has of it."""
        return cls(**{**told, "layers": tuple(LayerFacts(**layer) for layer in told["layers"])})

    @property
    def step_bytes(self) -> int:
        """Bytes of weights that every step reads."""
        return self.matmul_bytes + self.other_bytes

    @property
    def kv_token_bytes(self) -> int:
        """Bytes of one position in the KV cache, all layers together."""
        return self.state_bytes * sum(layer.states for layer in self.layers)

    def kv_read_bytes(self, first: Ints, last: Ints) -> Floats:
        """Bytes of KV cache that tokens read which attend to first, ..., last positions each."""
        return self.state_bytes * self._over_layers("states", first, last)

    def attention_flops(self, first: Ints, last: Ints) -> Floats:
        """FLOPs of attention of tokens that attend to first, ..., last positions each."""
        return self._over_layers("flops_per_pair", first, last)

    def _over_layers(self, weight: str, first: Ints, last: Ints) -> Floats:
        total = np.zeros(np.shape(last))
        for layer in self.layers:
            pairs = attended(last, layer.window) - attended(first - 1, layer.window)
            total += getattr(layer, weight) * pairs
        return total

    def decode(self, steps: int, seconds: float, first: Ints, last: Ints) -> Work:
        """Count decode steps in which each row attends to first, ..., last positions, one a step.

        A row takes part in ``last - first + 1`` of the steps. Every token of it is embedded and
        goes through all matrices, and its keys and values are written.
        """
        tokens = int((last - first + 1).sum())
        a_token = self.embedding_row_bytes + self.kv_token_bytes
        read = float(self.kv_read_bytes(first, last).sum())
        products = 2.0 * (self.matmul_parameters + self.head_parameters) * tokens
        return Work(
            steps=steps,
            seconds=seconds,
            moved_bytes=float(steps * self.step_bytes + tokens * a_token) + read,
            flops=products + float(self.attention_flops(first, last).sum()),
        )

    def prefill(self, seconds: float, prompts: Ints) -> Work:
        """Count a prefill for each prompt, given by its tokens; the head sees its last one alone.

        Keys and values are written; those that are attended to have just been made.
        """
        tokens, steps = int(prompts.sum()), len(prompts)
        a_token = self.embedding_row_bytes + self.kv_token_bytes
        products = 2.0 * (self.matmul_parameters * tokens + self.head_parameters * steps)
        pairs = float(self.attention_flops(np.ones_like(prompts), prompts).sum())
        return Work(
            steps=steps,
            seconds=seconds,
            moved_bytes=float(steps * self.step_bytes + tokens * a_token),
            flops=products + pairs,
        )


@dataclass(frozen=True, slots=True)
class Work:
    """Steps of one kind: how many, the seconds they took, the bytes they moved, their FLOPs."""

    steps: int
    seconds: float
    moved_bytes: float
    flops: float

    def bandwidth_share(self, peak: float) -> float:
        """Give the bytes a second as a share of a peak (bytes/s)."""
        return self.moved_bytes / self.seconds / peak

    def compute_share(self, peak: float) -> float:
        """Give the FLOPs a second as a share of a peak (FLOP/s)."""
        return self.flops / self.seconds / peak


@dataclass(frozen=True, slots=True)
class Roof:
    """What a machine was measured to do at the most.

    ``bytes_per_second`` of a copy, read and written bytes together; ``flops_per_second`` of a
    product of square matrices in ``precision`` (float32, tf32, bfloat16, float16). ``hardware`` is
    the name of the GPU or of the processor; ``measured_at`` is ISO 8601, UTC;
    ``other_load_percent`` is what other programs used of the machine's processors meanwhile.
    """

    hardware: str
    device: str
    precision: str
    threads: int | None
    torch: str
    bytes_per_second: float
    flops_per_second: float
    other_load_percent: float
    measured_at: str

    @property
    def is_doubtful(self) -> bool:
        """Whether others used so much of a processor that its own peaks may be too low."""
        return self.device == "cpu" and self.other_load_percent > OTHER_LOAD_PERCENT
