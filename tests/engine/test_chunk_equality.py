"""Greedy tokens equal generate's with split prompts, reused prefixes and every kind of batching."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import families
import pytest
import torch
from greedy import (
    MAX_LENGTH,
    SLOTS,
    answers_in_chunks,
    expected,
    generated,
    ragged_requests,
    sharing,
)
from torch import _dynamo
from transformers import PreTrainedModel

from llmbench.engine.buckets import Buckets
from llmbench.engine.engine import ChunkRunner
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.runner import Step, TorchRunner
from llmbench.engine.sampling import Greedy
from llmbench.engine.speculative import Draft, SpeculativeRunner
from llmbench.engine.warmup import graphs_compiled
from llmbench.models import kernels
from llmbench.runs.request import Request

EXACT = Buckets(range(1, SLOTS * MAX_LENGTH), (1, 2, 3), (64, MAX_LENGTH))
PADDED = Buckets((16, 64, MAX_LENGTH), (SLOTS,), (MAX_LENGTH,))
ATTENTIONS = ("sdpa", "eager", "sdpa-grouped")
BY_DEFAULT = set(zip((7, 16, 40), ATTENTIONS, strict=True))  # each chunk and each attention once
kernels.register_attention()


def runner_of(model: PreTrainedModel, buckets: Buckets = EXACT, **steps: Any) -> TorchRunner:
    cache = KvCache.allocate(model, SLOTS, MAX_LENGTH)
    return TorchRunner(model, cache, Greedy(), buckets, **steps)


def speculative(model: PreTrainedModel) -> SpeculativeRunner:
    draft = copy.deepcopy(model)
    with torch.no_grad():
        for weight in draft.parameters():
            weight.mul_(1 + 0.05 * torch.randn_like(weight))
    caches = [KvCache.allocate(each, SLOTS, MAX_LENGTH) for each in (draft, model)]
    drafting = Draft(draft, caches[0], Greedy(), EXACT)
    return SpeculativeRunner(model, caches[1], Greedy(), EXACT, draft=drafting, drafted=3)


def in_one_graph(step: Step) -> Step:
    _dynamo.config.recompile_limit = 64
    compiled: Step = torch.compile(step, fullgraph=True, dynamic=False)
    return compiled


def check_reuse(runner: ChunkRunner, family: str, **engine: Any) -> dict[int, int | None]:
    """Check the answers of requests that share prefixes; return their cached tokens."""
    requests, answered = sharing(family)
    answers, cached = answers_in_chunks(runner, requests, prefix_cache=True, **engine)
    assert answers == answered
    return cached


@pytest.mark.parametrize(
    ("chunk", "attention"),
    [
        pytest.param(*pair, marks=() if pair in BY_DEFAULT else pytest.mark.slow)
        for pair in product((1, 7, 16, 40), ATTENTIONS)
    ],
)
def test_split_prompts_get_the_same_tokens(
    model: PreTrainedModel, family: str, chunk: int, attention: str
) -> None:
    model.set_attn_implementation(attention)
    answers, _ = answers_in_chunks(
        runner_of(model), ragged_requests(), prefill_chunk=chunk, prefill_tokens=64
    )
    assert answers == expected(family)


@families.by_default("gemma3")
@pytest.mark.parametrize("batching", ["static", "dynamic", "continuous"])
def test_every_kind_of_batching_gets_the_same_tokens(
    model: PreTrainedModel, family: str, batching: str
) -> None:
    engine: dict[str, Any] = {"batching": batching, "batch_wait": 5.0, "prefill_tokens": 40}
    runner = runner_of(model)
    for more in ({}, {"prefill_chunk": 9}):
        answers, _ = answers_in_chunks(runner, ragged_requests(), **engine, **more)
        assert answers == expected(family)
        check_reuse(runner, family, **engine, **more)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_reused_prefixes_of_all_lengths_give_the_same_tokens(
    model: PreTrainedModel, family: str, attention: str
) -> None:
    model.set_attn_implementation(attention)
    runner = runner_of(model)
    check_reuse(runner, family, prefill_chunk=8, prefill_tokens=8)
    cached = check_reuse(runner, family, apart=30.0)  # one after another
    expected_tokens = [0, 39, 0, 1, 2, 15, 16, 17, 24, 39, 40, 51, 65]
    assert [cached[number] for number in sorted(cached)] == expected_tokens


def test_a_draft_follows_split_prompts_and_reused_prefixes(
    model: PreTrainedModel, family: str
) -> None:
    runner = speculative(model)
    check_reuse(runner, family, prefill_chunk=8)
    assert runner.counts["accepted_tokens"] > 0


@pytest.mark.parametrize("steps", [0, 5, 150])
def test_an_idle_slot_keeps_what_it_holds_while_others_decode(
    model: PreTrainedModel, steps: int
) -> None:
    """Even where its writes reach the end of the cache."""
    request = Request(0, tuple(range(30)), 12)
    runner = runner_of(model)
    for slot in range(SLOTS):
        runner.prefill(slot, request.prompt[: 10 + slot])
    for _ in range(steps):
        runner.decode([0, 2])
        runner.lengths[0] = runner.lengths[2] = 20
    for slot in (1, 0):
        (token,) = runner.prefill_chunks([slot], [request.prompt[10 + slot :]], [10 + slot])
        answer = [token]
        while len(answer) < request.max_new_tokens:
            answer += runner.decode([slot])[0]
        assert answer == generated(model, request)


def test_padding_behind_cached_tokens_changes_no_token(model: PreTrainedModel, family: str) -> None:
    def another(step: Step) -> Step:
        return partial(step)  # pads as a compiled step does

    runner = runner_of(model, PADDED, compile_prefill=another)
    check_reuse(runner, family, prefill_chunk=20)


@pytest.mark.slow
def test_compiled_chunks_give_the_same_tokens_in_a_graph_for_each_size(
    model: PreTrainedModel, family: str
) -> None:
    model.set_attn_implementation("sdpa-grouped")
    buckets = replace(PADDED, prompts=(16, 64))
    runner = runner_of(model, buckets, compile_prefill=in_one_graph, compile_decode=in_one_graph)
    check_reuse(runner, family)
    graphs = graphs_compiled()
    check_reuse(runner, family, prefill_chunk=10)
    assert graphs_compiled() == graphs
