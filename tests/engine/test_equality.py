"""The engine's greedy tokens are those of transformers' own generate, one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import _dynamo
from transformers import PreTrainedModel

from llmbench.clock import VirtualClock
from llmbench.dispatch import Dispatch, Stop
from llmbench.engine.buckets import Buckets, doublings
from llmbench.engine.engine import Engine
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.runner import Step, TorchRunner
from llmbench.engine.sampling import Greedy
from llmbench.engine.warmup import rehearsals
from llmbench.loads.schedule import Scheduled
from llmbench.models import attention as attentions
from llmbench.request import Request

SLOTS = 3
MAX_LENGTH = 128
EXACT = Buckets(tuple(range(1, 65)), (1, 2, 3), doublings(32, MAX_LENGTH))
attentions.register()
FEW = Buckets((16, 64), (1, SLOTS), (MAX_LENGTH,))


def as_it_is(step: Step) -> Step:
    return step


def in_one_graph(step: Step) -> Step:
    _dynamo.config.recompile_limit = 64
    compiled: Step = torch.compile(step, fullgraph=True, dynamic=False)
    return compiled


def ragged_requests() -> list[Request]:
    """Eight prompts of 3 to 60 tokens, some longer than Gemma's window, with varied answers."""
    draws = np.random.default_rng(3)
    lengths = [3, 60, 17, 33, 9, 48, 5, 26]
    answers = [24, 9, 31, 20, 40, 13, 1, 28]
    return [
        Request(number, tuple(draws.integers(0, 256, length).tolist()), answer)
        for number, (length, answer) in enumerate(zip(lengths, answers, strict=True))
    ]


class Ticking:
    """A runner that takes a virtual second for each step, so that requests join a running batch."""

    def __init__(self, runner: TorchRunner, clock: VirtualClock) -> None:
        self.runner = runner
        self.clock = clock

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        self.clock.advance(1.0)
        return self.runner.prefill(slot, prompt)

    def decode(self, slots: Sequence[int]) -> list[int]:
        self.clock.advance(1.0)
        return self.runner.decode(slots)


def served(
    model: PreTrainedModel,
    requests: list[Request],
    batching: str,
    buckets: Buckets,
    compile_step: Callable[[Step], Step],
) -> dict[int, list[int]]:
    clock = VirtualClock()
    cache = KvCache.allocate(model, SLOTS, MAX_LENGTH)
    runner = TorchRunner(
        model,
        cache,
        Greedy(),
        buckets,
        compile_prefill=compile_step,
        compile_decode=compile_step,
    )
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


@pytest.mark.parametrize("batching", ["continuous", "static"])
@pytest.mark.parametrize(
    ("attention", "buckets", "compile_step"),
    [
        ("sdpa", EXACT, as_it_is),
        ("sdpa-grouped", FEW, as_it_is),
        ("sdpa", FEW, in_one_graph),
        ("sdpa-grouped", FEW, in_one_graph),
    ],
    ids=["eager", "padded", "compiled", "compiled-grouped"],
)
def test_greedy_tokens_equal_generate_while_requests_join_and_leave(
    model: PreTrainedModel,
    batching: str,
    attention: str,
    buckets: Buckets,
    compile_step: Callable[[Step], Step],
) -> None:
    requests = ragged_requests()
    expected = {request.id: generated(model, request) for request in requests}
    model.set_attn_implementation(attention)
    answers = served(model, requests, batching, buckets, compile_step)
    assert answers == expected
    assert len({token for answer in expected.values() for token in answer}) >= 24


def test_joining_requests_compile_nothing_new(model: PreTrainedModel) -> None:
    _dynamo.reset()
    requests = ragged_requests()
    before = _dynamo.utils.counters["stats"]["unique_graphs"]
    cache = KvCache.allocate(model, SLOTS, MAX_LENGTH)
    runner = TorchRunner(
        model,
        cache,
        Greedy(),
        FEW,
        compile_prefill=in_one_graph,
        compile_decode=in_one_graph,
    )
    for rehearsal in rehearsals(runner, FEW).values():
        rehearsal()
    rehearsed = _dynamo.utils.counters["stats"]["unique_graphs"]
    clock = VirtualClock()
    engine = Engine(Ticking(runner, clock), clock, slots=SLOTS)
    staggered = Scheduled(np.arange(0.0, 7.0 * len(requests), 7.0))
    engine.serve(Dispatch(requests, staggered, Stop(requests=len(requests))))
    assert rehearsed > before
    assert _dynamo.utils.counters["stats"]["unique_graphs"] == rehearsed


def test_eager_attention_gives_the_same_tokens(model: PreTrainedModel) -> None:
    requests = ragged_requests()[:3]
    model.set_attn_implementation("eager")
    answers = served(model, requests, "continuous", EXACT, as_it_is)
    assert answers == {request.id: generated(model, request) for request in requests}
