"""Graphs are compared with the model's own forward, quantized ones with themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from llmbench import models
from llmbench.backends.onnx import Onnx, checking, quantizing
from llmbench.backends.onnx.loading import OnnxModel
from llmbench.backends.onnx.runner import OnnxRunner
from llmbench.engine.own_forward import Reference
from llmbench.errors import InputError
from llmbench.models.compress import Recipe
from llmbench.scenario.schema import ModelOptions
from llmbench.testing import dispatch, open_context, requests, serve

pytestmark = pytest.mark.usefixtures("shared_cache")
LONG = open_context(longest_sequence=100)
QUANTIZED = Recipe(quantize="int8-weight-only")


def report_of(recipe: Recipe | None = None) -> dict[str, Any]:
    with Onnx(Onnx.Options(compress=recipe)).open(LONG) as server:
        serve(server, dispatch(requests(1)))
        assert isinstance(server.model, OnnxModel)
        assert server.model.reference is None  # the torch module is released
        return server.report().self_check


def turned(*arguments: Any) -> Reference:
    """A reference whose logits are those of other tokens."""
    reference = original(*arguments)

    def forward(ids: Sequence[int], count: int) -> Tensor:
        return reference.forward(ids, count).flip(-1)

    return replace(reference, forward=forward, disturbed=None)


original = checking.reference_of


def test_a_graph_has_the_models_own_tokens() -> None:
    assert report_of() == {"result": "equal", "requests": 6, "tokens": 50, "longest": 68}


def test_a_quantized_graph_has_the_tokens_of_its_own_forward() -> None:
    assert report_of(QUANTIZED)["result"] == "equal"


def test_a_graph_that_differs_from_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "reference_of", turned)
    with pytest.raises(InputError, match=r"LlamaForCausalLM differs .*\(LlamaAttention\)"):
        report_of()


def test_a_graph_that_differs_from_the_model_is_not_quantized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checking, "reference_of", turned)
    monkeypatch.setattr(quantizing, "RECIPE", "never made")
    monkeypatch.setattr(quantizing, "quantize", pytest.fail)
    with pytest.raises(InputError, match="LlamaForCausalLM differs"):
        report_of(QUANTIZED)


def test_a_quantized_graph_whose_steps_differ_from_its_prompts_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report_of(QUANTIZED)  # quantized with the right steps

    def forgetful(self: OnnxRunner, prompt: Any) -> Tensor:
        self.prefill(0, prompt[-2:])
        return self._logits[:1].clone()

    monkeypatch.setattr(OnnxRunner, "prompt_logits", forgetful)
    with pytest.raises(InputError, match="LlamaForCausalLM differs"):
        report_of(QUANTIZED)


def test_the_cuda_providers_products_are_as_coarse_as_tf32() -> None:
    model = models.load_model(ModelOptions(source="random:tiny", device="cpu"))
    exact, coarse = (
        checking.reference_of(model, torch.device(device)).epsilon for device in ("cpu", "cuda")
    )
    assert exact == torch.finfo(torch.float32).eps
    assert coarse == 2**-10
