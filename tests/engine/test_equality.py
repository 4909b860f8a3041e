"""The engine's greedy tokens are those of transformers' own generate, one by one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from greedy import MAX_LENGTH, SLOTS, answers, generated, ragged_requests
from torch import _dynamo
from transformers import PreTrainedModel

from llmbench.engine.buckets import Buckets, doublings
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.matvec import generate_matvecs
from llmbench.engine.runner import Step, TorchRunner
from llmbench.engine.sampling import Greedy
from llmbench.engine.warmup import warmup_steps
from llmbench.models import attention as attentions

EXACT = Buckets(tuple(range(1, 65)), (1, 2, 3), doublings(32, MAX_LENGTH))
attentions.register()
FEW = Buckets((16, 64), (1, SLOTS), (MAX_LENGTH,))


def as_it_is(step: Step) -> Step:
    return step


def in_one_graph(step: Step) -> Step:
    _dynamo.config.recompile_limit = 64
    compiled: Step = torch.compile(step, fullgraph=True, dynamic=False)
    return compiled


def runner_of(
    model: PreTrainedModel, buckets: Buckets, compile_step: Callable[[Step], Step]
) -> TorchRunner:
    return TorchRunner(
        model,
        KvCache.allocate(model, SLOTS, MAX_LENGTH),
        Greedy(),
        buckets,
        compile_prefill=compile_step,
        compile_decode=compile_step,
    )


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
    assert answers(runner_of(model, buckets, compile_step), requests, batching) == expected
    assert len({token for answer in expected.values() for token in answer}) >= 24


def test_tokens_are_the_same_where_the_compiler_writes_the_products(
    model: PreTrainedModel,
) -> None:
    requests = ragged_requests()
    expected = {request.id: generated(model, request) for request in requests}
    model.set_attn_implementation("sdpa-grouped")
    generate_matvecs(model)
    assert answers(runner_of(model, FEW, in_one_graph), requests) == expected


def test_joining_requests_compile_nothing_new(model: PreTrainedModel) -> None:
    _dynamo.reset()
    requests = ragged_requests()
    before = _dynamo.utils.counters["stats"]["unique_graphs"]
    runner = runner_of(model, FEW, in_one_graph)
    for rehearsal in warmup_steps(runner, FEW).values():
        rehearsal()
    warmup_shapes = _dynamo.utils.counters["stats"]["unique_graphs"]
    answers(runner, requests)
    assert warmup_shapes > before
    assert _dynamo.utils.counters["stats"]["unique_graphs"] == warmup_shapes


def test_eager_attention_gives_the_same_tokens(model: PreTrainedModel) -> None:
    requests = ragged_requests()[:3]
    expected = {request.id: generated(model, request) for request in requests}
    model.set_attn_implementation("eager")
    assert answers(runner_of(model, EXACT, as_it_is), requests) == expected
