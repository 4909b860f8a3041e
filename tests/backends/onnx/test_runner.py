"""An exported graph gives the greedy tokens of transformers' own generate, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from greedy import MAX_LENGTH, SLOTS, answers, generated, ragged_requests
from transformers import PreTrainedModel

from llmbench.backends.onnx import exporting, sessions
from llmbench.backends.onnx.loading import OnnxModel
from llmbench.backends.onnx.runner import OnnxRunner
from llmbench.engine.sampling import Greedy


def runner_of(model: PreTrainedModel, graph: Path) -> OnnxRunner:
    layers = exporting.layers(model)
    exporting.export(model, graph)
    return OnnxRunner(
        OnnxModel(
            session=sessions.open_session(graph, "CPUExecutionProvider", "all", None),
            layers=layers,
            dtype=model.dtype,
            context_length=MAX_LENGTH,
            eos_ids=frozenset(),
            vocabulary=model.config.vocab_size,
            device=torch.device("cpu"),
            weight_bytes=0,
            requested={},
            effective={},
        ),
        Greedy(),
        slots=SLOTS,
        max_length=MAX_LENGTH,
    )


@pytest.mark.slow
def test_greedy_tokens_equal_generate_while_requests_join_and_leave(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    requests = ragged_requests()
    expected = {request.id: generated(model, request) for request in requests}
    runner = runner_of(model, tmp_path / "model.onnx")
    for batching in ("continuous", "static"):
        assert answers(runner, requests, batching) == expected
