"""A draft changes the times of tokens, never the tokens."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from greedy import MAX_LENGTH, SLOTS, answers, expected, generated, ragged_requests
from transformers import PreTrainedModel

from llmbench.engine.buckets import Buckets
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.sampling import Greedy
from llmbench.engine.speculative import Draft, SpeculativeRunner

ANY = Buckets(tuple(range(1, MAX_LENGTH + 1)), tuple(range(1, SLOTS + 1)), (MAX_LENGTH,))


def blurred(model: PreTrainedModel) -> PreTrainedModel:
    draft = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in draft.parameters():
            weight.mul_(1 + 0.05 * torch.randn_like(weight))
    return draft


def speculative(target: PreTrainedModel, draft: PreTrainedModel, drafted: int) -> SpeculativeRunner:
    def cache(model: PreTrainedModel) -> KvCache:
        return KvCache.allocate(model, SLOTS, MAX_LENGTH)

    drafting = Draft(draft, cache(draft), Greedy(), ANY)
    return SpeculativeRunner(target, cache(target), Greedy(), ANY, draft=drafting, drafted=drafted)


@pytest.mark.parametrize("drafted", [1, 3])
def test_answers_are_those_of_the_target_alone(
    model: PreTrainedModel, family: str, drafted: int
) -> None:
    runner = speculative(model, blurred(model), drafted)
    assert answers(runner, ragged_requests()) == expected(family)
    assert 0 < runner.counts["accepted_tokens"] < runner.counts["drafted_tokens"]


def test_prompts_that_are_prefilled_together_get_the_same_answers(model: PreTrainedModel) -> None:
    runners = [speculative(model, blurred(model), drafted=2) for _ in range(2)]
    prompts = [[5, 6, 7], [8, 9]]
    together = runners[0].prefill_batch([0, 2], prompts)
    assert together == [runners[1].prefill(slot, prompts[slot // 2]) for slot in (0, 2)]
    assert runners[0].decode([0, 2]) == runners[1].decode([0, 2])


def test_a_model_that_drafts_for_itself_has_every_token_accepted(model: PreTrainedModel) -> None:
    runner = speculative(model, copy.deepcopy(model), drafted=3)
    runner.prefill(0, [5, 6, 7])
    runner.prefill(1, [8, 9])
    chunks = runner.decode([0, 1])
    assert [len(chunk) for chunk in chunks] == [4, 4]
    assert runner.counts == Counter(drafted_tokens=6, accepted_tokens=6)


def test_drafts_past_the_end_of_the_cache_are_harmless(model: PreTrainedModel) -> None:
    whole = ragged_requests()[1]  # 60 tokens and an answer of 9
    length = len(whole.prompt) + whole.max_new_tokens
    draft = copy.deepcopy(model)
    caches = [KvCache.allocate(m, 1, length) for m in (draft, model)]
    buckets = Buckets((len(whole.prompt),), (1,), (length,))
    runner = SpeculativeRunner(
        model, caches[1], Greedy(), buckets, draft=Draft(draft, caches[0], Greedy(), buckets),
        drafted=5,
    )  # fmt: skip
    said = [runner.prefill(0, whole.prompt)]
    while len(said) < whole.max_new_tokens:
        said.extend(runner.decode([0])[0])
    assert said[: whole.max_new_tokens] == generated(model, whole)
