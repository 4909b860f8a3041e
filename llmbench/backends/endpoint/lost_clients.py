"""The requests of a client that was lost during a load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llmbench.backends.endpoint.answer import Answer
from llmbench.loads.dispatch import UNANSWERED, Dispatch, Shard
from llmbench.runs.record import Record
from llmbench.runs.request import Request

KIND = "client-lost"


@dataclass(frozen=True, slots=True)
class LostRequests:
    """The requests without an answer, with their due times, and the number of unsent turns."""

    requests: list[tuple[Request, float]]
    unsent_turns: int

    @classmethod
    def of(cls, shard: Shard, answers: Iterable[Answer], until: float) -> LostRequests:
        """Repeat the dispatch of a shard with the answers that are known.

        What it would have sent ``until`` then and has no answer is lost. A lost request triggers no
        other one: neither a later turn nor the next request of a user in a closed loop.
        """
        replay = Dispatch(shard.requests, shard.arrivals, shard.stop)
        known = sorted(answers, key=_ended)
        taken: dict[int, tuple[Request, float]] = {}
        for answer in known:
            now = min(_ended(answer), until)
            taken |= _taken(replay, now)
            if answer.request.id in taken:
                replay.finish(answer.request.id, now, answer.outcome)
        taken |= _taken(replay, until)
        for answer in known:
            taken.pop(answer.request.id, None)
        for number, (_, due) in taken.items():
            replay.finish(number, due, UNANSWERED)
        return cls([*taken.values()], replay.summary.unsent_turns)

    def records(self, message: str) -> list[Record]:
        """Return a record of each, with why it has no answer."""
        return [
            Record.of(request, due, None, "error", error_kind=KIND, error_message=message)
            for request, due in self.requests
        ]


def _taken(dispatch: Dispatch, now: float) -> dict[int, tuple[Request, float]]:
    return {request.id: (request, due) for request, due in dispatch.take_due(now)}


def _ended(answer: Answer) -> float:
    """Return the last known time of an answer."""
    return max(answer.begun, *answer.stamps[-1:], answer.abandoned_at or answer.begun)
