"""Sessions in progress: which turns a response makes due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmbench.runs.request import Request


@dataclass(frozen=True, slots=True)
class _Answered:
    """A request with its response, which later turns continue."""

    request: Request
    ids: Sequence[int]
    text: str


class OpenSession:
    """A session that has begun: its turns in flight, and those that wait for responses.

    A turn is due when all turns that it waits for are answered, plus its pause. The session fails
    with the first turn that does: no further turn is sent, and those in flight finish.
    """

    def __init__(self, first: Request, due: float) -> None:
        waits = {n: turn.waits_for(n) for n, turn in enumerate(first.turns, start=1)}
        self._first = first
        self._missing = {number: len(parents) for number, parents in waits.items()}
        self._ready = dict.fromkeys(waits, due)
        self._children: dict[int, list[int]] = {}
        for number, parents in waits.items():
            for parent in parents:
                self._children.setdefault(parent, []).append(number)
        self._answered: dict[int, _Answered] = {}
        self._scheduled = 0
        self._in_flight = 1
        self.is_job = first.is_in_job
        self.unsent = len(waits)
        self.has_failed = False

    @property
    def is_over(self) -> bool:
        """Whether no turn is in flight, and none will be sent."""
        return not self._in_flight and (self.has_failed or not self._scheduled)

    def begun(self) -> Iterator[tuple[float, Request]]:
        """Yield the due times and requests of the turns that wait for no other turn."""
        yield from self._due([n for n, missing in self._missing.items() if not missing])

    def sent(self) -> None:
        """Count a turn that is now in flight."""
        self._scheduled -= 1
        self._in_flight += 1
        self.unsent -= 1

    def fail(self) -> None:
        """Record that a turn has failed."""
        self._in_flight -= 1
        self.has_failed = True

    def answered(
        self, request: Request, now: float, answer_ids: Sequence[int], answer_text: str
    ) -> Iterator[tuple[float, Request]]:
        """Record a response; yield the due times and requests of the turns that it makes due."""
        self._in_flight -= 1
        if self.has_failed:
            return
        if request.is_continued:
            self._answered[request.turn] = _Answered(request, answer_ids, answer_text)
        complete = []
        for number in self._children.get(request.turn, ()):
            self._missing[number] -= 1
            self._ready[number] = max(self._ready[number], now)
            if not self._missing[number]:
                complete.append(number)
        yield from self._due(complete)

    def _due(self, numbers: Sequence[int]) -> Iterator[tuple[float, Request]]:
        self._scheduled += len(numbers)
        for number in numbers:
            request = self._request(number)
            yield self._ready[number] + request.think_seconds, request

    def _request(self, number: int) -> Request:
        before = self._first.turns[number - 1].continues(number)
        if before is None:
            return self._first.fresh_turn(number)
        answered = self._answered[before]
        return answered.request.next_turn(number, answered.ids, answered.text)
