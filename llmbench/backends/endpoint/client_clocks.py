"""The clocks of client processes: the times of their answers are brought to one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.backends.endpoint.answer import Answer
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import LoadSummary
from llmbench.runs.request import Request


class ClientClock(Protocol):
    """The monotonic clock that a client process reads, compared with that of this process."""

    def begin(self) -> None:
        """Compare the clocks before a load; raises EOFError if the client has ended."""

    def end(self) -> None:
        """Compare the clocks after a load; raises EOFError if the client has ended."""

    def remote(self, clock: MonotonicClock) -> MonotonicClock:
        """Return the clock with which the client reads the same times as ``clock``."""

    def corrected(self, clock: MonotonicClock, times: Sequence[float]) -> Sequence[float]:
        """Return the times on ``clock`` at which the client's clock read ``times``."""

    @property
    def facts(self) -> dict[str, Any] | None:
        """The offset, its error bound and the drift; None if both processes read one clock."""


class SameClock:
    """The clock of a client on this machine, where all processes read the same one."""

    facts = None

    def begin(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def remote(self, clock: MonotonicClock) -> MonotonicClock:
        """Return the same clock."""
        return clock

    def corrected(self, clock: MonotonicClock, times: Sequence[float]) -> Sequence[float]:  # noqa: ARG002 (it is the same)
        """Return the same times."""
        return times


@dataclass(frozen=True, slots=True)
class Correction:
    """Brings the times of a client's answers to the clock of the load.

    Due times in ``scheduled`` (ascending) were agreed before the load: they are times on the load's
    clock, and remain. All others follow from what the client read, such as the end of an answer.
    """

    clock: ClientClock
    load_clock: MonotonicClock
    scheduled: NDArray[np.float64]

    def time(self, seconds: float) -> float:
        """Return a time on the load's clock that the client read."""
        return self.clock.corrected(self.load_clock, (seconds,))[0]

    def due(self, seconds: float) -> float:
        """Return a due time on the load's clock."""
        index = int(np.searchsorted(self.scheduled, seconds))
        is_scheduled = index < len(self.scheduled) and self.scheduled[index] == seconds
        return seconds if is_scheduled else self.time(seconds)

    def answer(self, answer: Answer) -> None:
        """Correct all times of an answer."""
        answer.due, answer.begun = self.due(answer.due), self.time(answer.begun)
        answer.stamps = [*self.clock.corrected(self.load_clock, answer.stamps)]
        if answer.first_content is not None:
            answer.first_content = self.time(answer.first_content)
        if answer.abandoned_at is not None:
            answer.abandoned_at = self.time(answer.abandoned_at)

    def summary(self, summary: LoadSummary) -> None:
        """Correct the due times of the requests that a client did not send."""
        summary.dropped = self._due(summary.dropped)
        summary.given_up = self._due(summary.given_up)

    def _due(self, requests: Sequence[tuple[Request, float]]) -> list[tuple[Request, float]]:
        return [(request, self.due(due)) for request, due in requests]
