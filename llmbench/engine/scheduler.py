"""Schedulers: a first-come, first-served queue for a fixed number of slots."""

from __future__ import annotations

import heapq
from collections import deque

from llmbench.engine.sequence import Sequence


class ContinuousScheduler:
    """Continuous batching: requests join when a slot is free and leave when finished."""

    def __init__(self, slots: int) -> None:
        self._free = list(range(slots))
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no sequence waits or runs."""
        return not self.waiting and not self.running

    def add(self, sequence: Sequence) -> None:
        """Append a sequence to the queue."""
        self.waiting.append(sequence)

    def next_to_prefill(self) -> Sequence | None:
        """Return the first queued sequence, assigned to the lowest free slot, or None."""
        if not self.waiting or not self.can_admit():
            return None
        sequence = self.waiting.popleft()
        sequence.slot = heapq.heappop(self._free)
        self.running[sequence.slot] = sequence
        return sequence

    def can_admit(self) -> bool:
        """Return whether a slot is free."""
        return bool(self._free)

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence."""
        if sequence.slot is None:
            raise ValueError(f"request {sequence.request.id} has no slot to free")
        del self.running[sequence.slot]
        heapq.heappush(self._free, sequence.slot)


class StaticScheduler(ContinuousScheduler):
    """Static batching: no request joins before the whole batch has finished."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._filling = True

    def can_admit(self) -> bool:
        """Return whether the batch is still being filled."""
        return self._filling and super().can_admit()

    def next_to_prefill(self) -> Sequence | None:
        """Return the first queued sequence; if there is none or no free slot, close the batch."""
        sequence = super().next_to_prefill()
        self._filling = sequence is not None
        return sequence

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence; start a new batch once all slots are free."""
        super().retire(sequence)
        self._filling = not self.running
