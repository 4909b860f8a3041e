"""Which sequences a step works on: a first-come-first-served queue before a fixed set of slots."""

from __future__ import annotations

import heapq
from collections import deque

from llmbench.engine.sequence import Sequence


class ContinuousScheduler:
    """Requests join a running batch as soon as a slot is free and leave it as they finish."""

    def __init__(self, slots: int) -> None:
        self._free = list(range(slots))
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence behind the others."""
        self.waiting.append(sequence)

    def next_to_prefill(self) -> Sequence | None:
        """Give the first in the queue a slot, the lowest that is free, or return None."""
        if not self.waiting or not self.can_admit():
            return None
        sequence = self.waiting.popleft()
        sequence.slot = heapq.heappop(self._free)
        self.running[sequence.slot] = sequence
        return sequence

    def can_admit(self) -> bool:
        """Whether a sequence may join now."""
        return bool(self._free)

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence."""
        if sequence.slot is None:
            raise ValueError(f"request {sequence.request.id} has no slot to give back")
        del self.running[sequence.slot]
        heapq.heappush(self._free, sequence.slot)


class StaticScheduler(ContinuousScheduler):
    """Requests run in closed batches: none joins before the whole batch has finished."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._filling = True

    def can_admit(self) -> bool:
        """Whether the batch is still being filled."""
        return self._filling and super().can_admit()

    def next_to_prefill(self) -> Sequence | None:
        """Fill the batch from the queue; close it once the queue or the slots run out."""
        sequence = super().next_to_prefill()
        self._filling = sequence is not None
        return sequence

    def retire(self, sequence: Sequence) -> None:
        """Free the slot, and let a new batch form when it was the last one."""
        super().retire(sequence)
        self._filling = not self.running
