"""Sequences and queues of every policy, and a simulated engine without a model, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from llmbench.engine import queues
from llmbench.engine.queues import WaitingQueue
from llmbench.engine.scheduler import ContinuousScheduler
from llmbench.engine.sequence import Sequence as Waiting
from llmbench.runs.request import Request
from llmbench.scenario.queue_options import Queue

POLICIES: tuple[dict[str, Any], ...] = (
    {"policy": "fifo"},
    {"policy": "priority", "levels": ["chat", "batch"]},
    {"policy": "priority", "levels": ["chat", "batch"], "preempt": True},
    {"policy": "priority", "weights": {"chat": 3}},
    {"policy": "shortest"},
    {"policy": "shortest", "by": "prompt"},
    {"policy": "fair"},
    {"policy": "fair", "by": "session", "output_weight": 1},
)


def queue(policy: Any, **priorities: int) -> WaitingQueue:
    """Return an empty queue with a policy as a scenario writes it."""
    return queues.queue_of(TypeAdapter(Queue).validate_python(policy), priorities)


def sequence(
    number: int,
    *,
    prompt: int = 1,
    tokens: int = 1,
    sent: float = 0.0,
    request_class: str | None = None,
    session: int | None = None,
) -> Waiting:
    request = Request(number, (1,) * prompt, tokens, request_class=request_class, session=session)
    return Waiting(request, due=sent, sent=sent)


def order(policy: Any, *sequences: Waiting, now: float = 0.0, **priorities: int) -> list[int]:
    """Return the ids of sequences that all wait, in the order in which they get slots."""
    waiting = queue(policy, **priorities)
    for joining in sequences:
        joining.queued = joining.sent
        waiting.add(joining, joining.sent)
    taken = []
    while waiting:
        first = waiting.next(now)
        waiting.take(first)
        taken.append(first.request.id)
    return taken


@dataclass
class Simulated:
    """A scheduler whose steps take a second each, and what it did."""

    scheduler: ContinuousScheduler
    now: float = 0.0
    admitted: list[int] = field(default_factory=list)
    finished: list[Waiting] = field(default_factory=list)

    def run(self, sequences: Iterable[Waiting]) -> None:
        """Serve sequences, each of which arrives when it was sent."""
        arriving = sorted(sequences, key=lambda waiting: waiting.sent)
        while arriving or not self.scheduler.is_idle:
            while arriving and arriving[0].sent <= self.now:
                self.arrive(arriving.pop(0))
            self.step()
            self.now += 1.0

    def arrive(self, waiting: Waiting) -> None:
        self.scheduler.add(waiting, self.now)

    def step(self) -> None:
        """Run a prefill step if there is one to run, or else a decode step."""
        joining = self.scheduler.next_to_prefill(self.now)
        self.admitted += [waiting.request.id for waiting in joining]
        self.generate(joining or list(self.scheduler.running.values()))

    def generate(self, batch: Sequence[Waiting]) -> None:
        for waiting in batch:
            waiting.extend([1], self.now)
        self.scheduler.generated(batch, [[1]] * len(batch), self.now + 1.0)
        for waiting in batch:
            if waiting.is_finished:
                self.scheduler.retire(waiting)
                self.finished.append(waiting)
