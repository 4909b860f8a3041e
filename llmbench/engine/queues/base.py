"""The interface of a queue policy."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from typing import Protocol

from llmbench.engine.sequence import Sequence


class WaitingQueue(Protocol):
    """The waiting sequences, in the order of a policy.

    A queue reads no clock: ``now`` is passed to what may depend on it. Running sequences may give
    way to waiting ones only if it ``preempts``, which is not the default; by default, generated
    tokens do not matter.
    """

    preempts: bool = False

    def __len__(self) -> int:
        """Return the number of waiting sequences."""

    def add(self, sequence: Sequence, now: float) -> None:
        """Add a sequence that waits from now on."""

    def next(self, now: float) -> Sequence:
        """Return the sequence that comes next, without removing it.

        Raises LookupError if none waits.
        """

    def take(self, sequence: Sequence) -> None:
        """Remove a waiting sequence, which gets a slot."""

    def remove(self, sequence: Sequence) -> None:
        """Remove a waiting sequence that is withdrawn."""

    def release(self, sequence: Sequence) -> None:  # noqa: ARG002 (the default)
        """Take note that a running sequence has left its slot."""
        return

    def generated(
        self,
        sequences: SequenceOf[Sequence],  # noqa: ARG002 (the default)
        chunks: SequenceOf[SequenceOf[int]],  # noqa: ARG002 (the default)
    ) -> None:
        """Take note of the tokens that a step generated for running sequences."""
        return

    def giving_way(self, running: Iterable[Sequence], sequence: Sequence) -> SequenceOf[Sequence]:  # noqa: ARG002 (the default)
        """Return the running sequences that a waiting one may displace, the first to go first."""
        return ()
