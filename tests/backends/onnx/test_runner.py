"""An exported graph gives the greedy tokens of transformers' own generate, one by one."""

from __future__ import annotations

from functools import partial

import families
import pytest
from greedy import (
    answers,
    answers_around_a_batch,
    expected,
    expected_around_a_batch,
    ragged_requests,
)
from runners import runner_of
from transformers import PreTrainedModel

from llmbench.backends.onnx import exporting, graphs


@pytest.mark.usefixtures("shared_cache")
def test_greedy_tokens_equal_generate_while_requests_join_and_leave(
    model: PreTrainedModel, family: str
) -> None:
    graph = graphs.cached(f"test-{family}", partial(exporting.export, model))
    runner = runner_of(model, graph)
    for batching in ("continuous", "static"):
        assert answers(runner, ragged_requests(), batching) == expected(family)


@pytest.mark.usefixtures("shared_cache")
def test_prompts_that_are_prefilled_together_get_the_same_tokens(
    model: PreTrainedModel, family: str
) -> None:
    graph = graphs.cached(f"test-{family}", partial(exporting.export, model))
    answered = answers_around_a_batch(runner_of(model, graph), ragged_requests())
    assert answered == expected_around_a_batch(family)


@pytest.mark.usefixtures("shared_cache")
def test_prompts_that_are_prefilled_together_count_as_the_longest() -> None:
    model = families.build("llama")
    graph = graphs.cached("test-llama", partial(exporting.export, model))
    assert runner_of(model, graph).computed_tokens([3, 9, 5]) == 27
