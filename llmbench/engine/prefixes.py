"""Prefix reuse: the token ids that slots hold, and the longest prefix of a prompt among them.

A slot holds the tokens of its last sequence, running or finished, until another one gets the slot.
A new sequence gets the lowest free slot in any case, so that a decode step has no more rows than
without reuse. Tokens come to it by two moves, each of which copies their keys and values:

1. What the slot holds, and would lose, moves to the least recently used of the other free slots.
2. The longest prefix of the prompt is copied from the slot that holds it.

If a free slot holds nothing else than that prefix, the two slots are exchanged instead, and no slot
loses what it holds.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from itertools import count
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.engine.sequence import Sequence

NO_TOKEN = -1
FIRST_COLUMNS = 256


class CopyingRunner(Protocol):
    """A model runner that copies cached tokens from slot to slot."""

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        """Copy the first ``length`` cached tokens of a slot to another one."""

    def exchange(self, first: int, second: int, length: int) -> None:
        """Exchange the first ``length`` cached tokens of two slots that no sequence runs in."""


class Copy(NamedTuple):
    """Copies the first ``length`` tokens of the slot ``source`` to ``target``."""

    source: int
    target: int
    length: int

    def run(self, runner: CopyingRunner) -> None:
        """Copy the keys and values."""
        runner.copy_prefix(self.source, self.target, self.length)


class Exchange(NamedTuple):
    """Exchanges the first ``length`` tokens of two slots."""

    source: int
    target: int
    length: int

    def run(self, runner: CopyingRunner) -> None:
        """Exchange the keys and values."""
        runner.exchange(self.source, self.target, self.length)


Move = Copy | Exchange


class Prefix(NamedTuple):
    """The longest cached prefix of a sequence's context.

    It has ``tokens``, which the slot ``donor`` holds; ``usable`` has those of each slot. It
    ``is_growing`` if a sequence of this step computes a longer one, which the next step can use.
    """

    tokens: int = 0
    donor: int = 0
    usable: SequenceOf[int] = ()
    is_growing: bool = False


NO_PREFIX = Prefix()


class HeldTokens:
    """The token ids that each slot holds, of which the first ``ready`` are cached."""

    def __init__(self, slots: int) -> None:
        self._ids = np.full((slots, FIRST_COLUMNS), NO_TOKEN)
        self.ready = np.zeros(slots, dtype=np.int64)

    def shared(self, prompt: SequenceOf[int]) -> NDArray[np.int64]:
        """Return the length of the longest common prefix of a prompt and each slot's tokens."""
        width = min(len(prompt), self._ids.shape[1])
        if not width:
            return np.zeros_like(self.ready)
        differs = self._ids[:, :width] != np.asarray(prompt[:width], dtype=np.int64)
        lengths: NDArray[np.int64] = np.where(differs.any(axis=1), differs.argmax(axis=1), width)
        return lengths

    def replace(self, slot: int, ids: SequenceOf[int], ready: int) -> None:
        """Set a slot's tokens, of which the first ``ready`` are cached."""
        self._ids[slot] = NO_TOKEN
        self._write(slot, 0, ids)
        self.ready[slot] = ready

    def append(self, slot: int, ids: SequenceOf[int]) -> None:
        """Append cached tokens to a slot whose tokens are all cached."""
        self._write(slot, int(self.ready[slot]), ids)
        self.ready[slot] += len(ids)

    def copy(self, source: int, target: int) -> None:
        """Set a slot's tokens to those of another slot."""
        self._ids[target] = self._ids[source]
        self.ready[target] = self.ready[source]

    def exchange(self, first: int, second: int) -> None:
        """Exchange the tokens of two slots."""
        for rows in (self._ids, self.ready):
            rows[[first, second]] = rows[[second, first]]

    def _write(self, slot: int, start: int, ids: SequenceOf[int]) -> None:
        end = start + len(ids)
        missing = end - self._ids.shape[1]
        if missing > 0:
            added = max(missing, self._ids.shape[1])
            self._ids = np.pad(self._ids, ((0, 0), (0, added)), constant_values=NO_TOKEN)
        self._ids[slot, start:end] = ids

    def truncate(self, slot: int) -> None:
        """Drop a slot's tokens that are not cached."""
        self._ids[slot, self.ready[slot] :] = NO_TOKEN


class NoPrefixes:
    """Prefix reuse that is off: every prompt is prefilled as a whole."""

    def find(self, sequence: Sequence) -> Prefix:
        """Return that nothing can be reused."""
        del sequence
        return NO_PREFIX

    def admit(
        self, sequence: Sequence, slot: int, prefix: Prefix, free: SequenceOf[int]
    ) -> tuple[Move, ...]:
        """Return that nothing is to be moved."""
        del sequence, slot, prefix, free
        return ()

    def release(self, slot: int) -> None:
        """Do nothing."""


class PrefixCache(NoPrefixes):
    """Knows which tokens each slot holds, and how long ago each was used."""

    def __init__(self, slots: int) -> None:
        self._held = HeldTokens(slots)
        self._running: dict[int, Sequence] = {}
        self._used = list(range(slots))
        self._uses = count(slots)

    def find(self, sequence: Sequence) -> Prefix:
        """Return the longest prefix that a sequence can reuse; at least one token is computed."""
        for slot in self._running:
            self._update(slot)
        shared = self._held.shared(sequence.context[:-1])
        usable = np.minimum(shared, self._held.ready).tolist()
        tokens = max(usable)
        is_growing = bool(shared.max() > tokens)
        return Prefix(tokens, usable.index(tokens), usable, is_growing)

    def admit(
        self, sequence: Sequence, slot: int, prefix: Prefix, free: SequenceOf[int]
    ) -> tuple[Move, ...]:
        """Note that a sequence gets a slot, and return the moves of the tokens that it reuses.

        ``free`` are the other free slots.
        """
        moves = self._moves(slot, prefix, free)
        for move in moves:
            self._move(move, slot)
        self._held.replace(slot, sequence.context, prefix.tokens)
        self._running[slot] = sequence
        self._used[slot] = next(self._uses)
        if sequence.cached_tokens is None:
            sequence.cached_tokens = prefix.tokens
        return moves

    def _moves(self, slot: int, prefix: Prefix, free: SequenceOf[int]) -> tuple[Move, ...]:
        tokens, ready = prefix.tokens, self._held.ready.tolist()
        donor = slot if prefix.usable[slot] == tokens else prefix.donor
        if ready[slot] == prefix.usable[slot]:  # nothing is lost
            return _copied(donor, slot, tokens)
        if donor in free and ready[donor] == tokens:
            return (Exchange(donor, slot, max(ready[donor], ready[slot])),)
        others = [other for other in (slot, *free) if other != donor or not tokens]
        oldest = min(others, key=self._used.__getitem__, default=slot)
        return (*_copied(slot, oldest, ready[slot]), *_copied(donor, slot, tokens))

    def release(self, slot: int) -> None:
        """Note that the sequence in a slot has ended; the slot holds its tokens from now on."""
        self._update(slot)
        self._held.truncate(slot)
        del self._running[slot]
        self._used[slot] = next(self._uses)

    def _move(self, move: Move, slot: int) -> None:
        """Apply a move to what is held, for a sequence that gets ``slot``."""
        used = self._used
        if isinstance(move, Exchange):
            self._held.exchange(move.source, move.target)
            used[move.source], used[move.target] = used[move.target], used[move.source]
        elif move.target == slot:
            used[move.source] = next(self._uses)
        else:
            self._held.copy(move.source, move.target)
            used[move.target] = used[move.source]

    def _update(self, slot: int) -> None:
        """Note the tokens that the sequence in a slot has cached since the last time."""
        sequence, held = self._running[slot], self._held
        if sequence.is_prefilled:
            held.ready[slot] = max(held.ready[slot], sequence.prefill_end)
            behind = int(held.ready[slot]) - len(sequence.request.prompt)
            held.append(slot, sequence.output_ids[behind:-1])
        else:
            held.ready[slot] = sequence.prefilled


def _copied(source: int, target: int, length: int) -> tuple[Move, ...]:
    """Return the copy of tokens to another slot, if it is another and there are tokens."""
    return (Copy(source, target, length),) if source != target and length else ()
