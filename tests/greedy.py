"""Greedy answers of the engine, and of transformers' own generate to compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import families
import numpy as np
import torch
from transformers import PreTrainedModel

from llmbench.engine.engine import BatchRunner, ChunkRunner, Engine, ModelRunner
from llmbench.loads.clock import VirtualClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
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


class TickingChunks(Ticking):
    """The same for a runner that prefills prompts in chunks; copies take no time."""

    runner: ChunkRunner

    def prefill_batch(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Sequence[int]:
        self.clock.advance(1.0)
        return self.runner.prefill_batch(slots, prompts)

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> Sequence[int]:
        self.clock.advance(1.0)
        return self.runner.prefill_chunks(slots, chunks, starts)

    def computed_tokens(self, prompts: Sequence[int]) -> float:
        return self.runner.computed_tokens(prompts)

    def computed_chunks(self, chunks: Sequence[int], starts: Sequence[int]) -> float:
        return self.runner.computed_chunks(chunks, starts)

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        self.runner.copy_prefix(source, slot, length)

    def exchange(self, first: int, second: int, length: int) -> None:
        self.runner.exchange(first, second, length)


def answers(
    runner: ModelRunner, requests: list[Request], batching: str = "continuous"
) -> dict[int, list[int]]:
    """Return the answers by request id, served as requests join and leave a running batch."""
    clock = VirtualClock()
    return _outputs(_served(Ticking(runner, clock), clock, requests, 7.0, batching=batching))


def answers_in_chunks(
    runner: ChunkRunner, requests: list[Request], apart: float = 3.0, **engine: Any
) -> tuple[dict[int, list[int]], dict[int, int | None]]:
    """Return the answers and the cached tokens by request id, with options of the engine."""
    clock = VirtualClock()
    records = _served(TickingChunks(runner, clock), clock, requests, apart, **engine)
    return _outputs(records), {record.request_id: record.cached_tokens for record in records}


def _served(
    runner: ModelRunner, clock: VirtualClock, requests: list[Request], apart: float, **engine: Any
) -> list[Record]:
    staggered = Scheduled(np.arange(0.0, apart * len(requests), apart))
    served = Engine(runner, clock, slots=SLOTS, keep_outputs=True, **engine)
    return served.serve(Dispatch(requests, staggered, Stop(requests=len(requests))))


def _outputs(records: list[Record]) -> dict[int, list[int]]:
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


@cache
def sharing(family: str) -> tuple[list[Request], dict[int, list[int]]]:
    """Return requests that share prefixes of the first one's tokens, and their answers.

    The second repeats its prompt while it runs. The last but one continues its session, and the
    last continues that one's.
    """
    model = families.build(family)
    rng = np.random.default_rng(11)
    base = tuple(rng.integers(0, 256, 40).tolist())
    requests = [Request(0, base, 12), Request(1, base, 5)]
    for shared in (0, 1, 2, 15, 16, 17, 24, 39, 40):
        prompt = (*base[:shared], *rng.integers(0, 256, 5).tolist())
        requests.append(Request(len(requests), prompt, 7))
    answered = {request.id: generated(model, request) for request in requests}
    for earlier in (0, len(requests)):
        prompt = (*requests[earlier].prompt, *answered[earlier], *rng.integers(0, 256, 6).tolist())
        requests.append(Request(len(requests), prompt, 8))
        answered[requests[-1].id] = generated(model, requests[-1])
    return requests, answered
