"""Models that cannot be exported are refused with the operator or the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from greedy import answers, generated, ragged_requests
from runners import runner_of
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from llmbench.backends.onnx import exporting
from llmbench.backends.onnx.exporting import UnsupportedError, reason_of
from llmbench.errors import InputError

DECODER = {
    "vocab_size": 256,
    "initializer_range": 0.1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
LATENT = {
    **DECODER,
    "num_key_value_heads": 2,
    "q_lora_rank": None,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "first_k_dense_replace": 2,
}
JETMOE = {
    **DECODER,
    "kv_channels": 16,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
WINDOWED = {"head_dim": 16, "sliding_window": 16}


def build(model_type: str, **keys: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(model_type, **keys), attn_implementation="eager"
    )
    model.eval()
    return model


def refusal_of(model: PreTrainedModel, path: Path) -> str:
    with pytest.raises(InputError) as refusal:
        exporting.export(model, path)
    return str(refusal.value)


def test_keys_and_values_of_different_shapes_are_refused(tmp_path: Path) -> None:
    assert refusal_of(build("deepseek_v2", **LATENT), tmp_path / "model.onnx") == (
        "model: DeepseekV2ForCausalLM cannot be exported to ONNX: keys and values differ in shape "
        "(multi-head latent attention); use `eager` or `compiled`"
    )


def test_attention_that_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    assert refusal_of(build("falcon", **DECODER, num_kv_heads=1), tmp_path / "model.onnx") == (
        "model: FalconForCausalLM cannot be exported to ONNX: its attention is not taken from "
        "transformers' AttentionInterface; use `eager` or `compiled`"
    )


def test_an_error_of_any_type_in_the_exporter_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: object, **__: object) -> None:
        raise AssertionError("no such operator\nand much more")

    monkeypatch.setattr(torch.onnx, "export", export)
    assert refusal_of(build("llama", **DECODER), tmp_path / "model.onnx") == (
        "model: LlamaForCausalLM cannot be exported to ONNX: AssertionError: no such operator; "
        "use `eager` or `compiled`"
    )


def test_memory_that_runs_out_is_not_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(MemoryError):
        exporting.export(build("llama", **DECODER), tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("original", "reason"),
    [
        (
            RuntimeError("No ONNX function found for <OpOverload(op='aten.histc', overload='x')>."),
            "operator aten.histc",
        ),
        (UnsupportedError("layer 3 calls attention twice"), "layer 3 calls attention twice"),
        (KeyError("name"), "KeyError: 'name'"),
        (ValueError("a guard failed\nHint: ..."), "ValueError: a guard failed"),
        (ValueError("word " * 100), f"ValueError: {'word ' * 36}word ..."),
    ],
)
def test_the_reason_is_that_of_the_first_error(original: Exception, reason: str) -> None:
    step = torch.onnx.OnnxExporterError("Failed to export the model.\nThis is step 1/3.")
    step.__cause__ = original
    assert reason_of(step) == reason


def test_a_layer_that_calls_attention_twice_is_refused() -> None:
    operator = exporting._GroupQuery()
    operator.present = {0: []}
    with pytest.raises(UnsupportedError, match="layer 0 calls attention twice"):
        operator._check(0, {})


def test_a_layer_that_repeats_its_keys_after_caching_them_is_refused(tmp_path: Path) -> None:
    model = build("jetmoe", **JETMOE)
    with pytest.raises(InputError, match="its layers cache 2 heads and attend to 4; use `eager`"):
        exporting.export(model, tmp_path / "model.onnx")


def test_attention_with_tensors_that_the_operator_lacks_is_refused() -> None:
    operator = exporting._GroupQuery()
    operator.present = {}
    operator._check(0, {"s_aux": torch.zeros(1), "scale": 2.0})
    with pytest.raises(UnsupportedError, match="attention with position_bias"):
        operator._check(0, {"position_bias": torch.zeros(1)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "keys"),
    [
        ("gemma2", {**WINDOWED, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 16}),
        ("granite_swa", {"sliding_window": 16}),
    ],
    ids=["soft caps", "attention sinks"],
)
def test_models_without_sdpa_are_exported_and_give_the_tokens_of_generate(
    model_type: str, keys: dict[str, Any], tmp_path: Path
) -> None:
    model = build(model_type, **{**DECODER, **keys})
    model.generation_config.eos_token_id = None
    expected = {request.id: generated(model, request) for request in ragged_requests()}
    exporting.export(model, tmp_path / "model.onnx")
    assert answers(runner_of(model, tmp_path / "model.onnx"), ragged_requests()) == expected
