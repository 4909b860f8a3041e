"""Request classes by strict levels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from llmbench.engine.queues.ranked import Ranked
from llmbench.engine.sequence import Sequence


class Levels(Ranked):
    """Sequences by the level of their class, the lowest number first.

    ``others`` is the level of classes that have none. If the queue ``preempts``, running sequences
    give way to waiting ones of a level before theirs: those of the last level first, and of these
    the one that was sent last, as in vLLM.
    """

    def __init__(self, levels: Mapping[str, int], others: int = 0, *, preempts: bool) -> None:
        super().__init__(self.level)
        self._levels = levels
        self._others = others
        self._running: Counter[int] = Counter()
        self.preempts = preempts

    def level(self, sequence: Sequence) -> int:
        """Return the level of a sequence's class."""
        return self._levels.get(sequence.request.request_class or "", self._others)

    def take(self, sequence: Sequence) -> None:
        """Remove a sequence, which gets a slot, and count its level as running."""
        super().take(sequence)
        self._running[self.level(sequence)] += 1

    def release(self, sequence: Sequence) -> None:
        """Take note that a sequence of its level no longer runs."""
        level = self.level(sequence)
        self._running[level] -= 1
        if not self._running[level]:
            del self._running[level]

    def giving_way(self, running: Iterable[Sequence], sequence: Sequence) -> list[Sequence]:
        """Return the running sequences of later levels, the first to go first."""
        level = self.level(sequence)
        if level >= max(self._running, default=level):
            return []
        later = [other for other in running if self.level(other) > level]
        return sorted(later, key=lambda other: (self.level(other), other.sent), reverse=True)
