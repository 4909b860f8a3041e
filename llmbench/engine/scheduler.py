"""Schedulers: a queue of sequences for a fixed number of slots."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from llmbench.engine.queues import Fifo, WaitingQueue
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

    def has_room(self, lengths: SequenceOf[int], length: int) -> bool:
        """Return whether a prompt of a length can join those of ``lengths`` in their step."""
        if not lengths:
            return True
        together = [*lengths, length]
        alone = sum(self.computed([prompt]) for prompt in together)
        return self.computed(together) <= min(self.tokens, PADDING * alone)


ONE_BY_ONE = PrefillBudget()


class ContinuousScheduler:
    """Continuous batching: requests join when a slot is free and leave when finished.

    The queue, by default first come, first served, determines who is next; nobody overtakes a
    prompt that has no room in the step.
    """

    def __init__(
        self, slots: int, budget: PrefillBudget = ONE_BY_ONE, queue: WaitingQueue | None = None
    ) -> None:
        self._free = list(range(slots))
        self._budget = budget
        self.waiting = Fifo() if queue is None else queue
        self.running: dict[int, Sequence] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no sequence waits or runs."""
        return not self.waiting and not self.running

    def add(self, sequence: Sequence, now: float) -> None:
        """Add a sequence to the queue."""
        self.waiting.add(sequence, now)

    def next_to_prefill(self, now: float) -> list[Sequence]:
        """Return the next queued sequences that share a step, each in the lowest free slot."""
        joining: list[Sequence] = []
        lengths: list[int] = []
        while self.waiting and self.can_admit():
            sequence = self.waiting.next(now)
            length = len(sequence.request.prompt)
            if not self._budget.has_room(lengths, length):
                break
            self._admit(sequence)
            joining.append(sequence)
            lengths.append(length)
        return joining

    def _admit(self, sequence: Sequence) -> None:
        """Move a queued sequence to the lowest free slot."""
        self.waiting.take(sequence)
        sequence.slot = heapq.heappop(self._free)
        self.running[sequence.slot] = sequence

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

    def __init__(
        self, slots: int, budget: PrefillBudget = ONE_BY_ONE, queue: WaitingQueue | None = None
    ) -> None:
        super().__init__(slots, budget, queue)
        self._filling = True

    def can_admit(self) -> bool:
        """Return whether the batch is still being filled."""
        return self._filling and super().can_admit()

    def next_to_prefill(self, now: float) -> list[Sequence]:
        """Return the next queued sequences; if there are none or no free slot, close the batch."""
        joining = super().next_to_prefill(now)
        self._filling = bool(joining)
        return joining

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence; start a new batch once all slots are free."""
        super().retire(sequence)
        self._filling = not self.running
