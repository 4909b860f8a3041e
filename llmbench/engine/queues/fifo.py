"""First come, first served."""

from __future__ import annotations

from collections import OrderedDict

from llmbench.engine.queues.base import WaitingQueue
from llmbench.engine.sequence import Sequence


class Fifo(WaitingQueue):
    """Sequences in the order in which they were added."""

    def __init__(self) -> None:
        # unlike a dict, it finds its first key at once after many removals
        self._waiting: OrderedDict[int, Sequence] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of waiting sequences."""
        return len(self._waiting)

    def add(self, sequence: Sequence, now: float) -> None:
        """Append a sequence."""
        del now
        self._waiting[sequence.request.id] = sequence

    def next(self, now: float) -> Sequence:
        """Return the sequence that was added first; raises LookupError if none waits."""
        del now
        try:
            return self._waiting[next(iter(self._waiting))]
        except StopIteration:
            raise LookupError("no request waits") from None

    def take(self, sequence: Sequence) -> None:
        """Remove a sequence, which gets a slot."""
        self.remove(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that is withdrawn."""
        del self._waiting[sequence.request.id]
