"""The engine's greedy tokens are those of transformers' own generate, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from families import by_default
from greedy import (
    MAX_LENGTH,
    SLOTS,
    answers,
    answers_around_a_batch,
    expected,
    expected_around_a_batch,
    ragged_requests,
)
from torch import _dynamo
from transformers import PreTrainedModel

from llmbench.engine.buckets import Buckets, doublings
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.runner import Step, TorchRunner
from llmbench.engine.sampling import Greedy
from llmbench.engine.warmup import decodes, graphs_compiled
from llmbench.models import kernels
from llmbench.models.products import Product, plain_linears, set_products

EXACT = Buckets(tuple(range(1, 65)), (1, 2, 3), doublings(32, MAX_LENGTH))
FEW = Buckets((16, 64), (1, SLOTS), (MAX_LENGTH,))
ONE = Buckets(EXACT.prompts, (SLOTS,), (MAX_LENGTH,))
TOGETHER = replace(EXACT, prompts=range(1, SLOTS * MAX_LENGTH))
BATCHINGS = ("continuous", "static")
kernels.register_attention()


def uncompiled(step: Step) -> Step:
    return step


def in_one_graph(step: Step) -> Step:
    _dynamo.config.recompile_limit = 64
    compiled: Step = torch.compile(step, fullgraph=True, dynamic=False)
    return compiled


COMPILED = {"compile_prefill": in_one_graph, "compile_decode": in_one_graph}


def runner_of(
    model: PreTrainedModel,
    buckets: Buckets,
    *,
    compile_prefill: Callable[[Step], Step] = uncompiled,
    compile_decode: Callable[[Step], Step] = uncompiled,
) -> TorchRunner:
    return TorchRunner(
        model,
        KvCache.allocate(model, SLOTS, MAX_LENGTH),
        Greedy(),
        buckets,
        compile_prefill=compile_prefill,
        compile_decode=compile_decode,
    )


def check_equal(runner: TorchRunner, family: str) -> None:
    """Check both ways of batching on the same runner, whose steps are compiled once."""
    for batching in BATCHINGS:
        assert answers(runner, ragged_requests(), batching) == expected(family)


@pytest.mark.parametrize(
    ("attention", "buckets"),
    [("sdpa", EXACT), ("eager", EXACT), ("sdpa-grouped", FEW)],
    ids=["eager", "eager-attention", "padded"],
)
def test_greedy_tokens_equal_generate_while_requests_join_and_leave(
    model: PreTrainedModel, family: str, attention: str, buckets: Buckets
) -> None:
    model.set_attn_implementation(attention)
    check_equal(runner_of(model, buckets), family)
    assert len({token for answer in expected(family).values() for token in answer}) >= 24


@pytest.mark.parametrize("attention", ["sdpa", "eager", "sdpa-grouped"])
def test_prompts_that_are_prefilled_together_get_the_same_tokens(
    model: PreTrainedModel, family: str, attention: str
) -> None:
    model.set_attn_implementation(attention)
    runner = runner_of(model, TOGETHER)
    assert answers_around_a_batch(runner, ragged_requests()) == expected_around_a_batch(family)


def test_padding_behind_prompts_that_are_prefilled_together_changes_no_token(
    model: PreTrainedModel, family: str
) -> None:
    def another(step: Step) -> Step:
        return partial(step)  # pads the prompts as a compiled step does

    runner = runner_of(model, Buckets((256,), (SLOTS,), (MAX_LENGTH,)), compile_prefill=another)
    assert answers_around_a_batch(runner, ragged_requests()) == expected_around_a_batch(family)


@by_default("gemma3")
def test_compiled_steps_give_the_same_tokens_and_joining_requests_compile_nothing_new(
    model: PreTrainedModel, family: str
) -> None:
    _dynamo.reset()  # an earlier test may have compiled the same graphs
    before = graphs_compiled()
    model.set_attn_implementation("sdpa-grouped")
    runner = runner_of(model, ONE, compile_decode=in_one_graph)
    for step in decodes(runner, ONE).values():
        step()
    warm = graphs_compiled()
    assert warm > before
    check_equal(runner, family)
    assert graphs_compiled() == warm


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "sdpa-grouped"])
def test_compiled_steps_give_the_same_tokens_in_several_buckets(
    model: PreTrainedModel, family: str, attention: str
) -> None:
    model.set_attn_implementation(attention)
    check_equal(runner_of(model, FEW, **COMPILED), family)


@pytest.mark.slow
def test_compiled_prefills_of_several_prompts_give_the_same_tokens(
    model: PreTrainedModel, family: str
) -> None:
    model.set_attn_implementation("sdpa-grouped")
    runner = runner_of(model, replace(FEW, prompts=(64, 128)), compile_prefill=in_one_graph)
    assert answers_around_a_batch(runner, ragged_requests()) == expected_around_a_batch(family)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["generated", "packed"])
def test_tokens_are_the_same_with_products_that_are_not_the_librarys(
    model: PreTrainedModel, family: str, kind: Product
) -> None:
    model.set_attn_implementation("sdpa-grouped")
    set_products(plain_linears(model), dict.fromkeys(FEW.rows, kind))
    check_equal(runner_of(model, FEW, **COMPILED), family)
