"""The model runner of simulations, which computes nothing and only takes time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class TimedRunner(ABC):
    """A model runner whose steps only take time; its tokens are consecutive numbers."""

    last_token: int = field(default=0, init=False)

    @abstractmethod
    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        """Take the time of a step that prefills chunks; return the token after each."""

    @abstractmethod
    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        """Take the time of a decode step; return each slot's token."""

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        """Prefill one prompt."""
        return self.prefill_chunks([slot], [prompt], [0])[0]

    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        """Prefill several prompts in one step."""
        return self.prefill_chunks(slots, prompts, [0] * len(slots))

    def computed_tokens(self, prompts: Sequence[int]) -> int:
        """Return the tokens of a prefill step, which has no padding."""
        return sum(prompts)

    def computed_chunks(self, chunks: Sequence[int], starts: Sequence[int]) -> int:
        """Return the tokens of a prefill step of chunks, which has no padding."""
        del starts
        return sum(chunks)

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        """Take no time."""
        del source, slot, length

    def exchange(self, first: int, second: int, length: int) -> None:
        """Take no time."""
        del first, second, length

    def next_token(self) -> int:
        """Return the next number."""
        self.last_token += 1
        return self.last_token
