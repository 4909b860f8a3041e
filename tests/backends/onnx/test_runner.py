"""An exported graph gives the greedy tokens of transformers' own generate, one by one."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Any

import families
import pytest
from greedy import (
    answers,
    answers_around_a_batch,
    answers_in_chunks,
    expected,
    expected_around_a_batch,
    ragged_requests,
    sharing,
)
from runners import runner_of
from transformers import PreTrainedModel

from llmbench.backends.onnx import exporting, graphs


@families.by_default("gpt2")  # test_checking has a Llama
@pytest.mark.usefixtures("shared_cache")
def test_greedy_tokens_equal_generate_while_requests_join_and_leave(
    model: PreTrainedModel, family: str
) -> None:
    graph = graphs.cached(f"test-{family}", partial(exporting.export, model))
    runner = runner_of(model, graph)
    for batching in ("continuous", "static"):
        assert answers(runner, ragged_requests(), batching) == expected(family)


@families.by_default("gpt2")  # test_checking has a Llama
@pytest.mark.usefixtures("shared_cache")
def test_prompts_that_are_prefilled_together_get_the_same_tokens(
    model: PreTrainedModel, family: str
) -> None:
    graph = graphs.cached(f"test-{family}", partial(exporting.export, model))
    answered = answers_around_a_batch(runner_of(model, graph), ragged_requests())
    assert answered == expected_around_a_batch(family)


@pytest.mark.usefixtures("shared_cache")
def test_prompts_that_are_prefilled_together_count_as_the_longest() -> None:
    model = families.build("gpt2")
    graph = graphs.cached("test-gpt2", partial(exporting.export, model))
    assert runner_of(model, graph).computed_tokens([3, 9, 5]) == 27


@families.by_default("gpt2")  # test_checking has a Llama
@pytest.mark.usefixtures("shared_cache")
def test_split_prompts_and_reused_prefixes_give_the_same_tokens(
    model: PreTrainedModel, family: str
) -> None:
    graph = graphs.cached(f"test-{family}", partial(exporting.export, model))
    runner = runner_of(model, graph)
    requests, answered = sharing(family)
    for chunk in (None, 8, 64):
        engine: dict[str, Any] = {
            "prefill_chunk": chunk,
            "prefix_cache": True,
            "prefill_tokens": 64,
        }
        answers, cached = answers_in_chunks(runner, requests, **engine)
        assert answers == answered
        assert cached[1] == len(requests[1].prompt) - 1  # the last token is always computed


@pytest.mark.usefixtures("shared_cache")
def test_a_chunk_behind_cached_tokens_has_a_step_of_its_own() -> None:
    model = families.build("gpt2")
    runner = runner_of(model, graphs.cached("test-gpt2", partial(exporting.export, model)))
    assert runner.computed_chunks([4, 4], [0, 3]) == inf
    assert runner.computed_chunks([4, 5], [0, 0]) == 10
