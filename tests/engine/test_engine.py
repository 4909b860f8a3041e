"""What the engine asks of its runner, on the virtual clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmbench.engine.engine import Engine, ModelRunner
from llmbench.loads.clock import VirtualClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request


class OneAtATime:
    """A runner with no more than the two steps that every runner has."""

    def __init__(self) -> None:
        self.steps: list[object] = []

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        self.steps.append({slot: len(prompt)})
        return 1

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        self.steps.append(tuple(slots))
        return [[1] for _ in slots]


class Together(OneAtATime):
    """A runner that can run several prompts in one step."""

    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        self.steps.append(dict(zip(slots, map(len, prompts), strict=True)))
        return [1] * len(slots)

    def computed_tokens(self, prompts: Sequence[int]) -> int:
        return sum(prompts)


def served(runner: ModelRunner, prompts: Sequence[int], slots: int, prefill_tokens: int) -> int:
    """Serve prompts of these lengths, all at once, with answers of two tokens."""
    engine = Engine(runner, VirtualClock(), slots=slots, prefill_tokens=prefill_tokens)
    requests = [Request(number, (1,) * length, 2) for number, length in enumerate(prompts)]
    stop = Stop(requests=len(prompts))
    return len(engine.serve(Dispatch(requests, Scheduled(np.zeros(len(prompts))), stop)))


def test_prompts_that_wait_are_prefilled_together_in_the_order_they_came() -> None:
    runner = Together()
    assert served(runner, [4, 3, 5, 20, 1, 2], slots=6, prefill_tokens=10) == 6
    assert runner.steps == [{0: 4, 1: 3}, {2: 5}, {3: 20}, {4: 1, 5: 2}, (0, 1, 2, 3, 4, 5)]


def test_no_more_prompts_are_prefilled_together_than_there_are_free_slots() -> None:
    runner = Together()
    assert served(runner, [1, 1, 1], slots=2, prefill_tokens=10) == 3
    assert runner.steps == [{0: 1, 1: 1}, (0, 1), {0: 1}, (0,)]


def test_a_runner_without_batched_prefill_gets_the_prompts_one_by_one() -> None:
    runner = OneAtATime()
    assert served(runner, [1, 1], slots=2, prefill_tokens=10) == 2
    assert runner.steps == [{0: 1}, {1: 1}, (0, 1)]
