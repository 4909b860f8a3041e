"""Request classes by strict levels."""

from __future__ import annotations

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
        self._preempts = preempts

    def level(self, sequence: Sequence) -> int:
        """Return the level of a sequence's class."""
        return self._levels.get(sequence.request.request_class or "", self._others)

    def giving_way(self, running: Iterable[Sequence], sequence: Sequence) -> list[Sequence]:
        """Return the running sequences of later levels, the first to go first."""
        if not self._preempts:
            return []
        level = self.level(sequence)
        later = [other for other in running if self.level(other) > level]
        return sorted(later, key=lambda other: (self.level(other), other.sent), reverse=True)
