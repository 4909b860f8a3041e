"""An exported graph gives the greedy tokens of transformers' own generate, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from greedy import answers, generated, ragged_requests
from runners import runner_of
from transformers import PreTrainedModel

from llmbench.backends.onnx import exporting


@pytest.mark.slow
def test_greedy_tokens_equal_generate_while_requests_join_and_leave(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    requests = ragged_requests()
    expected = {request.id: generated(model, request) for request in requests}
    graph = tmp_path / "model.onnx"
    exporting.export(model, graph)
    runner = runner_of(model, graph)
    for batching in ("continuous", "static"):
        assert answers(runner, requests, batching) == expected
