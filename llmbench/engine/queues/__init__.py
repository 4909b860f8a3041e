"""Queue policies: which waiting request gets the next free slot."""

from __future__ import annotations

from collections.abc import Mapping

from llmbench.engine.queues.base import WaitingQueue
from llmbench.engine.queues.bounded import Bounded
from llmbench.engine.queues.fair import Fair, class_of, session_of
from llmbench.engine.queues.fifo import Fifo
from llmbench.engine.queues.priority import Levels
from llmbench.engine.queues.shortest import Shortest
from llmbench.scenario.queue_options import (
    FairQueue,
    FifoQueue,
    PriorityQueue,
    QueueOptions,
    ShortestQueue,
)

__all__ = ["Bounded", "Fair", "Fifo", "Levels", "Shortest", "WaitingQueue", "queue_of"]


def queue_of(options: QueueOptions, priorities: Mapping[str, int]) -> WaitingQueue:
    """Return an empty queue with a policy.

    ``priorities`` are those of the request classes, which are the levels if the policy has none.
    """
    if isinstance(options, FifoQueue):
        return Fifo()
    policy = _policy(options, priorities)
    return policy if options.max_wait is None else Bounded(policy, options.max_wait)


def _policy(
    options: PriorityQueue | ShortestQueue | FairQueue, priorities: Mapping[str, int]
) -> WaitingQueue:
    if isinstance(options, ShortestQueue):
        return Shortest(options.by)
    if isinstance(options, FairQueue):
        client = session_of if options.by == "session" else class_of
        per_prompt_token = options.prompt_weight
        return Fair(
            client,
            lambda sequence: per_prompt_token * len(sequence.request.prompt),
            options.output_weight,
        )
    if weights := options.weights:
        return Fair(class_of, lambda sequence: 1 / weights.get(class_of(sequence), 1.0))
    if options.levels:
        levels = {name: level for level, name in enumerate(options.levels)}
        return Levels(levels, len(levels), preempts=options.preempt)
    return Levels(priorities, preempts=options.preempt)
