"""Greedy answers of the engine, and of transformers' own generate to compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import families
import numpy as np
import torch
from transformers import PreTrainedModel

from llmbench.engine.engine import BatchRunner, Engine, ModelRunner
from llmbench.loads.clock import VirtualClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request

SLOTS = 3
MAX_LENGTH = 128


def ragged_requests() -> list[Request]:
    """Eight prompts of 3 to 60 tokens, some longer than Gemma's window, with varied answers."""
    rng = np.random.default_rng(3)
    lengths = [3, 60, 17, 33, 9, 48, 5, 26]
    answers = [24, 9, 31, 20, 40, 13, 1, 28]
    return [
        Request(number, tuple(rng.integers(0, 256, length).tolist()), answer)
        for number, (length, answer) in enumerate(zip(lengths, answers, strict=True))
    ]


class Ticking:
    """A runner that takes a virtual second for each step, so that requests join a running batch."""

    def __init__(self, runner: ModelRunner, clock: VirtualClock) -> None:
        self.runner = runner
        self.clock = clock

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        self.clock.advance(1.0)
        return self.runner.prefill(slot, prompt)

    def decode(self, slots: Sequence[int]) -> Sequence[Sequence[int]]:
        self.clock.advance(1.0)
        return self.runner.decode(slots)


def answers(
    runner: ModelRunner, requests: list[Request], batching: str = "continuous"
) -> dict[int, list[int]]:
    """Return the answers by request id, served as requests join and leave a running batch."""
    clock = VirtualClock()
    engine = Engine(
        Ticking(runner, clock), clock, slots=SLOTS, batching=batching, keep_outputs=True
    )
    staggered = Scheduled(np.arange(0.0, 7.0 * len(requests), 7.0))
    records = engine.serve(Dispatch(requests, staggered, Stop(requests=len(requests))))
    return {record.request_id: list(record.output_ids or ()) for record in records}


def generated(model: PreTrainedModel, request: Request) -> list[int]:
    prompt = torch.tensor([request.prompt])
    tokens = model.generate(  # type: ignore[operator]  # transformers types it loosely
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=request.max_new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    answer: list[int] = tokens[0, len(request.prompt) :].tolist()
    return answer


def answers_around_a_batch(runner: BatchRunner, requests: list[Request]) -> dict[int, list[int]]:
    """Return the answers by request id where two prompts join together around a running one.

    The running one has the second of three slots, so that the slots of the others are not adjacent.
    """
    running, *joining = requests[:SLOTS]
    by_slot = {1: [runner.prefill(1, running.prompt)]}
    by_slot[1] += [token for _ in range(3) for (token,) in runner.decode([1])]
    firsts = runner.prefill_batch([0, 2], [request.prompt for request in joining])
    by_slot |= {slot: [token] for slot, token in zip([0, 2], firsts, strict=True)}
    longest = max(request.max_new_tokens for request in requests[:SLOTS])
    while len(by_slot[0]) < longest:
        for slot, chunk in enumerate(runner.decode(range(SLOTS))):
            by_slot[slot] += chunk
    by_id = {request.id: (request, by_slot[slot]) for request, slot in zip(
        [running, *joining], [1, 0, 2], strict=True
    )}  # fmt: skip
    return {number: answer[: request.max_new_tokens] for number, (request, answer) in by_id.items()}


def expected_around_a_batch(family: str) -> dict[int, list[int]]:
    """Return the answers of a family's model to the first three of the ragged requests."""
    return {number: answer for number, answer in expected(family).items() if number < SLOTS}


@cache
def expected(family: str) -> dict[int, list[int]]:
    """Return the answers of a family's model to the ragged requests, by transformers alone."""
    model = families.build(family)
    return {request.id: generated(model, request) for request in ragged_requests()}
