"""Schedulers: a queue of sequences for a fixed number of slots."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from llmbench.engine.queues import Fifo, WaitingQueue
from llmbench.engine.sequence import Sequence
from llmbench.errors import InputError

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


class Places(NamedTuple):
    """Free slots, and tokens that are left in the budget."""

    slots: int
    tokens: float

    def count(self, tokens: int) -> float:
        """Return the number of sequences of so many tokens that have a place."""
        return min(self.slots, self.tokens // tokens)


NO_PLACES = Places(0, 0)


class ContinuousScheduler:
    """Continuous batching: requests join when a slot is free and leave when finished.

    The queue, by default first come, first served, determines who is next; nobody overtakes a
    sequence that has no room in the step or no place. A place is a slot and, if there is a budget
    of ``kv_tokens``, as many of these as the sequence can have. At most ``max_queue`` sequences
    wait, besides those that can start at once and those that were preempted.
    """

    def __init__(
        self,
        slots: int,
        budget: PrefillBudget = ONE_BY_ONE,
        queue: WaitingQueue | None = None,
        *,
        max_queue: int | None = None,
        kv_tokens: int | None = None,
    ) -> None:
        self._free = list(range(slots))
        self._budget = budget
        self._max_queue = max_queue
        self._kv_tokens = kv_tokens
        self._free_tokens: float = inf if kv_tokens is None else kv_tokens
        self._during_step = self._free_places
        self._step_ended = 0.0
        self.waiting = Fifo() if queue is None else queue
        self.running: dict[int, Sequence] = {}

    @property
    def _free_places(self) -> Places:
        """The places that sequences could take now."""
        return Places(len(self._free), self._free_tokens) if self.is_open else NO_PLACES

    @property
    def is_idle(self) -> bool:
        """Whether no sequence waits or runs."""
        return not self.waiting and not self.running

    @property
    def is_open(self) -> bool:
        """Whether sequences may join the batch."""
        return True

    def add(self, sequence: Sequence, now: float) -> None:
        """Add a sequence to the queue.

        Raises InputError if it exceeds the whole budget of KV tokens.
        """
        if self._kv_tokens is not None and sequence.most_tokens > self._kv_tokens:
            raise InputError(exceeds_kv_tokens(sequence.most_tokens, self._kv_tokens))
        sequence.queued = now
        self.waiting.add(sequence, now)

    def is_full(self, sequence: Sequence, now: float) -> bool:
        """Return whether a new sequence must be rejected: the queue was full when it was due.

        The places that the last step freed at its end were not free before.
        """
        if self._max_queue is None or len(self.waiting) < self._max_queue:
            return False
        first = self.waiting.next(now) if self.waiting else sequence
        places = self._during_step if sequence.due < self._step_ended else self._free_places
        return len(self.waiting) >= self._max_queue + places.count(first.most_tokens)

    def next_to_prefill(self, now: float) -> list[Sequence]:
        """Return the next queued sequences that share a step, each in the lowest free slot."""
        joining: list[Sequence] = []
        lengths: list[int] = []
        while self.waiting and self.is_open:
            sequence = self.waiting.next(now)
            length = sequence.context_tokens
            if not self._budget.has_room(lengths, length) or not self._make_place(sequence, now):
                break
            self._admit(sequence, now)
            joining.append(sequence)
            lengths.append(length)
        return joining

    def _admit(self, sequence: Sequence, now: float) -> None:
        """Move a queued sequence to the lowest free slot."""
        self.waiting.take(sequence)
        sequence.waited = sequence.wait(now)
        sequence.slot = heapq.heappop(self._free)
        self.running[sequence.slot] = sequence
        self._free_tokens -= sequence.most_tokens

    def _make_place(self, sequence: Sequence, now: float) -> bool:
        """Preempt running sequences if a queued one needs and may take their places.

        Return whether it has one.
        """
        if self._free and sequence.most_tokens <= self._free_tokens:
            return True
        yielding = self._yielding(sequence)
        for other in yielding:
            self._preempt(other, now)
        return bool(yielding)

    def _yielding(self, sequence: Sequence) -> list[Sequence]:
        """Return the fewest running sequences whose places are enough; none if all are too few."""
        slots, tokens = len(self._free), self._free_tokens
        yielding = []
        for other in self.waiting.giving_way(self.running.values(), sequence):
            yielding.append(other)
            slots, tokens = slots + 1, tokens + other.most_tokens
            if slots and sequence.most_tokens <= tokens:
                return yielding
        return []

    def _preempt(self, sequence: Sequence, now: float) -> None:
        """Move a running sequence back to the queue."""
        self.retire(sequence)
        sequence.slot = None
        sequence.preemptions += 1
        self.add(sequence, now)

    def generated(
        self, sequences: SequenceOf[Sequence], chunks: SequenceOf[SequenceOf[int]], now: float
    ) -> None:
        """Report the tokens of a step that ends now to the queue, since its order may need them."""
        if self._max_queue is not None:
            self._during_step, self._step_ended = self._free_places, now
        self.waiting.generated(sequences, chunks)

    def withdraw(self, sequence: Sequence) -> None:
        """Remove a sequence from the queue."""
        self.waiting.remove(sequence)

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence."""
        if sequence.slot is None:
            raise ValueError(f"request {sequence.request.id} has no slot to free")
        del self.running[sequence.slot]
        heapq.heappush(self._free, sequence.slot)
        self._free_tokens += sequence.most_tokens


class StaticScheduler(ContinuousScheduler):
    """Static batching: no request joins before the whole batch has finished."""

    _filling = True

    @property
    def is_open(self) -> bool:
        """Whether the batch is still being filled."""
        return self._filling

    def next_to_prefill(self, now: float) -> list[Sequence]:
        """Return the next queued sequences; if there are none or no place, close the batch."""
        joining = super().next_to_prefill(now)
        self._filling = bool(joining)
        return joining

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence; start a new batch once all slots are free."""
        super().retire(sequence)
        self._filling = not self.running


def exceeds_kv_tokens(tokens: int, budget: int) -> str:
    """Return the message about a request that can never have a place."""
    return (
        f"engine.kv_tokens: the longest request has {tokens} tokens (prompt and output), and the "
        f"budget of all requests together is {budget}; raise it, or use shorter requests"
    )
