"""Schedulers: a first-come, first-served queue for a fixed number of slots."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import islice

from llmbench.engine.sequence import Sequence

PADDING = 1.25  # most computed tokens of prompts together, relative to those of each one alone


@dataclass(frozen=True, slots=True)
class PrefillBudget:
    """Determines which prompts share a prefill step: those of at most ``tokens`` in total.

    ``computed`` returns the tokens that a step computes for prompts of given lengths, including
    padding. Padding may add a quarter to what the prompts compute one by one.
    """

    tokens: int = 1
    computed: Callable[[SequenceOf[int]], float] = sum

    def shared(self, lengths: Iterable[int]) -> int:
        """Return how many of the first prompts share a step: at least one, if there is one."""
        prompts: list[int] = []
        alone = 0.0
        for length in lengths:
            prompts.append(length)
            alone += self.computed([length])
            if len(prompts) > 1 and self.computed(prompts) > min(self.tokens, PADDING * alone):
                return len(prompts) - 1
        return len(prompts)


ONE_BY_ONE = PrefillBudget()


class ContinuousScheduler:
    """Continuous batching: requests join when a slot is free and leave when finished."""

    def __init__(self, slots: int, budget: PrefillBudget = ONE_BY_ONE) -> None:
        self._free = list(range(slots))
        self._budget = budget
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no sequence waits or runs."""
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Append a sequence to the queue."""
        self.waiting.append(sequence)

    def next_to_prefill(self) -> list[Sequence]:
        """Return the first queued sequences that share a step, each in the lowest free slot."""
        if not self.waiting or not self.can_admit():
            return []
        candidates = islice(self.waiting, len(self._free))
        count = self._budget.shared(len(sequence.request.prompt) for sequence in candidates)
        return [self._admitted() for _ in range(count)]

    def _admitted(self) -> Sequence:
        """Move the first queued sequence to the lowest free slot and return it."""
        sequence = self.waiting.popleft()
        sequence.slot = heapq.heappop(self._free)
        self.running[sequence.slot] = sequence
        return sequence

    def can_admit(self) -> bool:
        """Return whether a slot is free."""
        return bool(self._free)

    def withdraw(self, sequence: Sequence) -> None:
        """Remove a sequence from the queue."""
        self.waiting.remove(sequence)

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence."""
        if sequence.slot is None:
            raise ValueError(f"request {sequence.request.id} has no slot to free")
        del self.running[sequence.slot]
        heapq.heappush(self._free, sequence.slot)


class StaticScheduler(ContinuousScheduler):
    """Static batching: no request joins before the whole batch has finished."""

    def __init__(self, slots: int, budget: PrefillBudget = ONE_BY_ONE) -> None:
        super().__init__(slots, budget)
        self._filling = True

    def can_admit(self) -> bool:
        """Return whether the batch is still being filled."""
        return self._filling and super().can_admit()

    def next_to_prefill(self) -> list[Sequence]:
        """Return the first queued sequences; if there are none or no free slot, close the batch."""
        joining = super().next_to_prefill()
        self._filling = bool(joining)
        return joining

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence; start a new batch once all slots are free."""
        super().retire(sequence)
        self._filling = not self.running
