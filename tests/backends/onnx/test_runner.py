"""An exported graph gives the greedy tokens of transformers' own generate, one by one."""

from __future__ import annotations

from functools import partial

import pytest
from greedy import answers, expected, ragged_requests
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
