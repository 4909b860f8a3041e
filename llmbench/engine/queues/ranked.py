"""A queue in the order of a fixed rank of each sequence."""

from __future__ import annotations

from collections.abc import Callable

from llmbench.engine.queues.base import WaitingQueue
from llmbench.engine.queues.removable_heap import RemovableHeap
from llmbench.engine.sequence import Sequence


class Ranked(WaitingQueue):
    """Sequences by ascending rank; those of one rank in the order in which they were sent."""

    def __init__(self, rank: Callable[[Sequence], float]) -> None:
        self._rank = rank
        self._order: RemovableHeap[int, Sequence] = RemovableHeap()

    def __len__(self) -> int:
        """Return the number of waiting sequences."""
        return len(self._order)

    def add(self, sequence: Sequence, now: float) -> None:
        """Add a sequence."""
        del now
        self._order.push(sequence.request.id, sequence, self._rank(sequence), sequence.sent)

    def next(self, now: float) -> Sequence:
        """Return the sequence of the lowest rank; raises LookupError if none waits."""
        del now
        return self._order.first()

    def take(self, sequence: Sequence) -> None:
        """Remove a sequence, which gets a slot."""
        self._order.remove(sequence.request.id)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that is withdrawn."""
        self._order.remove(sequence.request.id)
