"""A KV cache of ``slots × max_length`` token positions, for sequences of different lengths.

transformers' static cache has one length for the whole batch, so it does not support sequences of
different lengths. Here a step specifies the flat index at which each new token is stored, and the
length of the cache to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from llmbench.errors import InputError, ran_out


@dataclass(frozen=True, slots=True)
class KvCache:
    """The keys and values of every layer, each of shape [slots * max_length, heads, head size]."""

    slots: int
    max_length: int
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @classmethod
    def allocate(cls, model: PreTrainedModel, slots: int, max_length: int) -> KvCache:
        """Allocate a zeroed cache for a model.

        Raise InputError for a layer that does not cache plain keys and values.
        """
        shapes = state_shapes(model)
        options: dict[str, Any] = {"dtype": model.dtype, "device": model.device}
        rows = slots * max_length
        return cls(
            slots,
            max_length,
            tuple(torch.zeros(rows, *key, **options) for key, _ in shapes),
            tuple(torch.zeros(rows, *value, **options) for _, value in shapes),
        )

    @property
    def nbytes(self) -> int:
        """The size of all keys and values in bytes."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))

    def copy(self, source: int, slot: int, length: int) -> None:
        """Copy the first ``length`` positions of a slot to another slot."""
        for states in (*self.keys, *self.values):
            self._rows(states, slot, length).copy_(self._rows(states, source, length))

    def exchange(self, first: int, second: int, length: int) -> None:
        """Exchange the first ``length`` positions of two slots."""
        for states in (*self.keys, *self.values):
            rows, others = (self._rows(states, slot, length) for slot in (first, second))
            kept = rows.clone()
            rows.copy_(others)
            others.copy_(kept)

    def _rows(self, states: Tensor, slot: int, length: int) -> Tensor:
        return states.narrow(0, slot * self.max_length, length)


@torch.no_grad()
def state_shapes(model: PreTrainedModel) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return two shapes (heads, head size) for each layer: of its keys and of its values.

    The shapes are read from the model's own cache after one token. Raise InputError if the model
    cannot run it, or if a layer does not cache plain keys and values.
    """
    shapes = []
    for layer in _cache_of_one_token(model).layers:
        if not isinstance(getattr(layer, "keys", None), Tensor):
            raise InputError(
                f"model: {type(model).__name__} has layers ({type(layer).__name__}) without plain "
                "keys and values, which the local engine cannot serve; use the endpoint backend"
            )
        shapes.append(
            tuple((states.shape[1], states.shape[3]) for states in (layer.keys, layer.values))
        )
    return shapes  # type: ignore[return-value]


def _cache_of_one_token(model: PreTrainedModel) -> Any:
    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    try:
        return model(token, past_key_values=DynamicCache(), use_cache=True).past_key_values
    except Exception as error:  # a model's code raises errors of any type
        if ran_out(error):
            raise
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(
            f"model: {type(model).__name__} fails in its own forward ({reason}); check its "
            "configuration, or use another model"
        ) from error


class _View(Cache):
    """The part of the KV cache that a model sees during one step.

    ``index`` has the flat cache index of each new token, in the order of ids [batch, length].
    """

    def __init__(self, cache: KvCache, index: Tensor) -> None:
        # without super().__init__(), which would create layers
        self.layers = []
        self.cache = cache
        self.index = index

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values [batch, heads, length, size]; return those to attend to."""
        return (
            self.write(self.cache.keys[layer_idx], key_states),
            self.write(self.cache.values[layer_idx], value_states),
        )

    def write(self, stored: Tensor, new: Tensor) -> Tensor:
        """Store new keys or values at ``index`` and return those to attend to."""
        stored.index_copy_(0, self.index, new.transpose(1, 2).flatten(0, 1))
        return new


class PrefillView(_View):
    """The cache view of a prefill, which attends to its own prompt only."""


class ChunkView(_View):
    """The cache view of a prefill behind cached tokens: it attends to the indices ``context``."""

    def __init__(self, cache: KvCache, index: Tensor, context: Tensor) -> None:
        super().__init__(cache, index)
        self.context = context

    def write(self, stored: Tensor, new: Tensor) -> Tensor:
        """Store new keys or values, and return a copy of those to attend to."""
        super().write(stored, new)
        return stored.index_select(0, self.context)[None].transpose(1, 2)


class DecodeView(_View):
    """A decode step's view of the cache: the first ``length`` positions of the first slots."""

    def __init__(self, cache: KvCache, index: Tensor, rows: int, length: int) -> None:
        super().__init__(cache, index)
        self.rows = rows
        self.length = length

    def write(self, stored: Tensor, new: Tensor) -> Tensor:
        """Store new keys or values, and return those to attend to as a view of the cache."""
        super().write(stored, new)
        by_slot = stored.view(self.cache.slots, self.cache.max_length, *stored.shape[1:])
        return by_slot[: self.rows, : self.length].transpose(1, 2)
