"""A runner with an injected delay, to test that slowdowns are detected."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from llmbench.engine.engine import BatchRunner, ChunkRunner, ModelRunner, batched


@dataclass(frozen=True, slots=True)
class DelayedRunner:
    """A model runner that prolongs every step by the fraction ``share`` of its duration.

    It busy-waits, since a sleep overshoots by more than a few microseconds.
    """

    runner: BatchRunner
    share: float

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        """Run the wrapped runner's prefill, then wait for the injected delay."""
        began = time.monotonic()
        token = self.runner.prefill(slot, prompt)
        self._wait(began)
        return token

    def prefill_batch(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Sequence[int]:
        """Run the wrapped runner's prefill of several prompts, then wait for the injected delay."""
        began = time.monotonic()
        tokens = self.runner.prefill_batch(slots, prompts)
        self._wait(began)
        return tokens

    def computed_tokens(self, prompts: Sequence[int]) -> float:
        """Return the tokens that the wrapped runner computes for these prompt lengths."""
        return self.runner.computed_tokens(prompts)

    def decode(self, slots: Sequence[int]) -> Sequence[Sequence[int]]:
        """Run the wrapped runner's decode step, then wait for the injected delay."""
        began = time.monotonic()
        tokens = self.runner.decode(slots)
        self._wait(began)
        return tokens

    def _wait(self, began: float) -> None:
        now = time.monotonic()
        end = now + self.share * (now - began)
        while time.monotonic() < end:
            pass


@dataclass(frozen=True, slots=True)
class DelayedChunkRunner(DelayedRunner):
    """The same for a runner that prefills prompts in chunks; copies take their own time only."""

    runner: ChunkRunner

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> Sequence[int]:
        """Run the wrapped runner's prefill of chunks, then wait for the injected delay."""
        began = time.monotonic()
        tokens = self.runner.prefill_chunks(slots, chunks, starts)
        self._wait(began)
        return tokens

    def computed_chunks(self, chunks: Sequence[int], starts: Sequence[int]) -> float:
        """Return the tokens that the wrapped runner computes for these chunks."""
        return self.runner.computed_chunks(chunks, starts)

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        """Copy cached tokens in the wrapped runner."""
        self.runner.copy_prefix(source, slot, length)

    def exchange(self, first: int, second: int, length: int) -> None:
        """Exchange cached tokens in the wrapped runner."""
        self.runner.exchange(first, second, length)


def delayed(runner: ModelRunner, share: float) -> DelayedRunner:
    """Return a runner whose steps last longer by the fraction ``share``."""
    if isinstance(runner, ChunkRunner):
        return DelayedChunkRunner(runner, share)
    return DelayedRunner(batched(runner), share)
