"""Tensor parallelism: a runner whose steps all ranks of a process group run together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from llmbench.engine.runner import TorchRunner
from llmbench.models.loading import LoadedModel

# what the other ranks are asked to repeat, with its arguments
Call = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class ShardedModel(LoadedModel):
    """A torch model of which this process has a share; ``weight_bytes`` is that of all ranks.

    ``whole`` is the undivided module, until the self-check has compared the ranks' steps with it.
    """

    module: PreTrainedModel
    whole: PreTrainedModel | None


class ParallelRunner(TorchRunner):
    """The runner of one rank's share of a model, with its share of the KV cache.

    On rank 0, ``repeat`` sends each call to the other ranks before it runs, by the name of the
    method and its arguments; on the others it does nothing. Rank 0 chooses the tokens of all.
    """

    def __init__(self, *parts: Any, repeat: Call) -> None:
        super().__init__(*parts)
        self._repeat = repeat

    @property
    def cache_nbytes(self) -> int:
        """The size of the KV caches of all ranks in bytes."""
        return super().cache_nbytes * dist.get_world_size()

    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        """Run prompts, fill their slots' KV cache and return the first output tokens."""
        self._repeat("prefill_batch", list(slots), list(prompts))
        return super().prefill_batch(slots, prompts)

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        """Run chunks of prompts behind the cached tokens of their slots."""
        self._repeat("prefill_chunks", list(slots), list(chunks), list(starts))
        return super().prefill_chunks(slots, chunks, starts)

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        """Copy the first ``length`` cached tokens of a slot to another one."""
        self._repeat("copy_prefix", source, slot, length)
        super().copy_prefix(source, slot, length)

    def exchange(self, first: int, second: int, length: int) -> None:
        """Exchange the first ``length`` cached tokens of two idle slots, and their positions."""
        self._repeat("exchange", first, second, length)
        super().exchange(first, second, length)

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        """Run one decode step of ``slots`` (ascending); return their next tokens on the host."""
        self._repeat("decode", list(slots))
        return super().decode(slots)

    def pretend(self, rows: int, length: int) -> None:
        """Set the first slots' lengths so that the next decode step reads ``length`` tokens."""
        self._repeat("pretend", rows, length)
        super().pretend(rows, length)

    def _choose(self, logits: Tensor) -> Tensor:
        """Return the tokens that rank 0 chose, whatever rounding does to the logits of others."""
        tokens = super()._choose(logits)
        dist.broadcast(tokens, src=0)
        return tokens
