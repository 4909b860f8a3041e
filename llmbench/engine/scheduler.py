"""Schedulers: a queue of sequences for a fixed number of slots."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from llmbench.engine.prefixes import Move, NoPrefixes, Prefix
from llmbench.engine.queues import Fifo, WaitingQueue
from llmbench.engine.sequence import Sequence
from llmbench.errors import InputError

PADDING = 1.25  # most computed tokens of prompts together, relative to those of each one alone


class Span(NamedTuple):
    """A chunk of a prompt that a step runs: its tokens, and the cached ones before it."""

    length: int
    start: int = 0


def total(spans: SequenceOf[Span]) -> float:
    """Return the tokens of a step without padding."""
    return sum(span.length for span in spans)


@dataclass(frozen=True, slots=True)
class PrefillBudget:
    """Determines which prompts share a prefill step: those of at most ``tokens`` in total.

    ``computed`` returns the tokens that a step computes for given chunks, including padding.
    Padding may add a quarter to what the chunks compute one by one. A prompt of more than ``chunk``
    tokens is split; None: never.
    """

    tokens: int = 1
    computed: Callable[[SequenceOf[Span]], float] = total
    chunk: int | None = None

    def span(self, prompt: int, start: int) -> Span:
        """Return the next chunk of a prompt whose first ``start`` tokens are cached."""
        rest = prompt - start
        return Span(rest if self.chunk is None else min(rest, self.chunk), start)

    def has_room(self, spans: SequenceOf[Span], span: Span) -> bool:
        """Return whether a chunk can join those of a step."""
        if not spans:
            return True
        together = [*spans, span]
        alone = sum(self.computed([one]) for one in together)
        return self.computed(together) <= min(self.tokens, PADDING * alone)


ONE_BY_ONE = PrefillBudget()
NO_PREFIXES = NoPrefixes()


class Places(NamedTuple):
    """Free slots, and tokens that are left in the budget."""

    slots: int
    tokens: float

    def room(self, tokens: int) -> float:
        """Return how many sequences of ``tokens`` each can start."""
        return min(self.slots, self.tokens // tokens)


NO_PLACES = Places(0, 0)


class ContinuousScheduler:
    """Continuous batching: requests join when a slot is free and leave when finished.

    The queue, by default first come, first served, determines who is next; nobody overtakes a
    sequence that has no room in the step or no place. A place is a slot and, if there is a budget
    of ``kv_tokens``, as many of these as the sequence can have. At most ``max_queue`` sequences
    wait, besides those that can start at once and those that were preempted.

    If prompts are split, each prefill step is followed by a decode step of the sequences that
    decode, and the next chunk comes before waiting prompts: so only one prompt is partly prefilled.
    ``prefixes`` determines which cached tokens a prompt reuses, and `take_moves` returns what is to
    be copied for that before the next step.
    """

    def __init__(
        self,
        slots: int,
        budget: PrefillBudget = ONE_BY_ONE,
        queue: WaitingQueue | None = None,
        *,
        prefixes: NoPrefixes = NO_PREFIXES,
        max_queue: int | None = None,
        kv_tokens: int | None = None,
        batch_wait: float = 0.0,
    ) -> None:
        self._free = list(range(slots))
        self._slots = slots
        self._budget = budget
        self._prefixes = prefixes
        self._batch_wait = batch_wait
        self._moves: list[Move] = []
        self._partial: Sequence | None = None
        self._decodes_next = False
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
    def decoding(self) -> dict[int, Sequence]:
        """The running sequences whose prompts are complete, by slot."""
        if self._partial is None:
            return self.running
        return {slot: one for slot, one in self.running.items() if one is not self._partial}

    @property
    def is_idle(self) -> bool:
        """Whether no sequence waits or runs."""
        return not self.waiting and not self.running

    def next_step(self, now: float) -> float:
        """Return when the next step can run: now, or infinity if no sequence waits or runs."""
        return inf if self.is_idle else now

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
        return len(self.waiting) >= self._max_queue + places.room(first.most_tokens)

    def next_to_prefill(self, now: float) -> list[Sequence]:
        """Return the sequences of the next prefill step, new ones each in the lowest free slot.

        Empty if the next step is a decode step.
        """
        if self._decodes_next and self.decoding:
            self._decodes_next = False
            return []
        joining = self._joining(now)
        self._decodes_next = bool(joining) and self._budget.chunk is not None
        return joining

    def take_moves(self) -> list[Move]:
        """Return the copies of cached tokens to make before the prefill step, and forget them."""
        moves, self._moves = self._moves, []
        return moves

    def _joining(self, now: float) -> list[Sequence]:
        joining: list[Sequence] = []
        spans: list[Span] = []
        if self._partial:
            joining, spans = [self._partial], [self._next_chunk(self._partial)]
        while self.waiting and self.is_open and (self._free or self.waiting.preempts):
            sequence = self.waiting.next(now)
            yielding = self._yielding(sequence, joining)
            if yielding is None:
                break
            prefix = self._prefixes.find(sequence)
            span = self._budget.span(sequence.context_tokens, prefix.tokens)
            waits = bool(joining) and prefix.is_growing
            if waits or not self._budget.has_room(spans, span):
                break
            for other in yielding:
                self._preempt(other, now)
            self._admit(sequence, prefix, now)
            joining.append(sequence)
            spans.append(self._next_chunk(sequence))
        return joining

    def _admit(self, sequence: Sequence, prefix: Prefix, now: float) -> None:
        """Move a queued sequence to the lowest free slot."""
        self.waiting.take(sequence)
        sequence.waited = sequence.wait(now)
        sequence.slot = heapq.heappop(self._free)
        self.running[sequence.slot] = sequence
        self._free_tokens -= sequence.most_tokens
        sequence.prefilled, sequence.prefill_end = prefix.tokens, sequence.context_tokens
        self._moves += self._prefixes.admit(sequence, sequence.slot, prefix, self._free)

    def _next_chunk(self, sequence: Sequence) -> Span:
        """Set and return the chunk of a sequence that the next step runs."""
        span = self._budget.span(sequence.prefill_end, sequence.prefilled)
        sequence.chunk_end = span.start + span.length
        if sequence.chunk_end < sequence.prefill_end:
            self._partial = sequence
        elif sequence is self._partial:
            self._partial = None
        return span

    def _yielding(self, sequence: Sequence, joining: list[Sequence]) -> SequenceOf[Sequence] | None:
        """Return the fewest running sequences that must make place for a queued one.

        Those that the step prefills keep theirs. None if the queued one cannot have a place.
        """
        slots, tokens = len(self._free), self._free_tokens
        if slots and sequence.most_tokens <= tokens:
            return ()
        if not self.waiting.preempts:
            return None
        yielding = []
        for other in self.waiting.giving_way(self.running.values(), sequence):
            if any(other is one for one in joining):
                continue
            yielding.append(other)
            slots, tokens = slots + 1, tokens + other.most_tokens
            if slots and sequence.most_tokens <= tokens:
                return yielding
        return None

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
        self._prefixes.release(sequence.slot)
        self.waiting.release(sequence)
        if sequence is self._partial:
            self._partial = None


class StaticScheduler(ContinuousScheduler):
    """Static batching: no request joins before the whole batch has finished."""

    _filling = True

    @property
    def is_open(self) -> bool:
        """Whether the batch is still being filled."""
        return self._filling

    def _joining(self, now: float) -> list[Sequence]:
        """Return the next sequences; if there are none or no place, close the batch."""
        joining = super()._joining(now)
        self._filling = bool(joining)
        return joining

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence; start a new batch once all slots are free."""
        super().retire(sequence)
        self._filling = not self.running


class DynamicScheduler(StaticScheduler):
    """Dynamic batching: a batch starts when it is full or its oldest request has waited enough.

    A batch is full when there is a request for each slot. The oldest has waited ``batch_wait``
    seconds since it was due. Then the batch goes on as in static batching.
    """

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._due: dict[int, float] = {}
        self._started = False

    def add(self, sequence: Sequence, now: float) -> None:
        """Add a sequence to the queue."""
        super().add(sequence, now)
        self._due[sequence.request.id] = sequence.due

    def next_step(self, now: float) -> float:
        """Return when the next step can run: now, or when the next batch starts."""
        moment = super().next_step(now)
        if moment == inf or self.running or self._started or len(self.waiting) >= self._slots:
            return moment
        return max(now, min(self._due.values()) + self._batch_wait)

    def _joining(self, now: float) -> list[Sequence]:
        if not self.running:
            self._started = self.next_step(now) <= now
        joining = super()._joining(now) if self._started else []
        self._started = bool(joining)
        return joining

    def _admit(self, sequence: Sequence, prefix: Prefix, now: float) -> None:
        super()._admit(sequence, prefix, now)
        del self._due[sequence.request.id]

    def withdraw(self, sequence: Sequence) -> None:
        """Remove a sequence from the queue."""
        super().withdraw(sequence)
        del self._due[sequence.request.id]

    def retire(self, sequence: Sequence) -> None:
        """Free the slot of a finished sequence; the next batch starts once all slots are free."""
        super().retire(sequence)
        self._started = self._started and bool(self.running or self.waiting)


def exceeds_kv_tokens(tokens: int, budget: int) -> str:
    """Return the message about a request that can never have a place."""
    return (
        f"engine.kv_tokens: the longest request has {tokens} tokens (prompt and output), and the "
        f"budget of all requests together is {budget}; raise it, or use shorter requests"
    )
