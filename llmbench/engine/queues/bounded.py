"""A starvation bound for any policy."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf

from llmbench.engine.queues.base import WaitingQueue
from llmbench.engine.queues.removable_heap import RemovableHeap
from llmbench.engine.sequence import Sequence


class Bounded(WaitingQueue):
    """A policy in which a sequence that has waited for ``max_wait`` seconds goes first.

    Several such go in the order in which they reached the bound, so that a sequence waits at most
    for ``max_wait``, and then until the running ones and those before it leave it a slot. It keeps
    that slot. The wait is all the time in the queue, before and after a preemption.
    """

    def __init__(self, policy: WaitingQueue, max_wait: float) -> None:
        self._policy = policy
        self._max_wait = max_wait
        self.preempts = policy.preempts
        self._longest: RemovableHeap[int, Sequence] = RemovableHeap()

    def __len__(self) -> int:
        """Return the number of waiting sequences."""
        return len(self._policy)

    def add(self, sequence: Sequence, now: float) -> None:
        """Add a sequence."""
        self._policy.add(sequence, now)
        since = sequence.queued - sequence.waited
        self._longest.push(sequence.request.id, sequence, since)

    def next(self, now: float) -> Sequence:
        """Return the sequence past the bound, if any, else the policy's next one.

        Raises LookupError if none waits.
        """
        longest = self._longest.first()
        return longest if longest.wait(now) >= self._max_wait else self._policy.next(now)

    def take(self, sequence: Sequence) -> None:
        """Remove a sequence, which gets a slot."""
        self._policy.take(sequence)
        self._longest.remove(sequence.request.id)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that is withdrawn."""
        self._policy.remove(sequence)
        self._longest.remove(sequence.request.id)

    def release(self, sequence: Sequence) -> None:
        """Take note that a running sequence has left its slot, as the policy does."""
        self._policy.release(sequence)

    def generated(
        self, sequences: SequenceOf[Sequence], chunks: SequenceOf[SequenceOf[int]]
    ) -> None:
        """Take note of the tokens of a step, as the policy does."""
        self._policy.generated(sequences, chunks)

    def giving_way(self, running: Iterable[Sequence], sequence: Sequence) -> list[Sequence]:
        """Return the policy's choice, without those that had waited up to the bound."""
        chosen = self._policy.giving_way(running, sequence)
        return [other for other in chosen if other.waited < self._max_wait]
