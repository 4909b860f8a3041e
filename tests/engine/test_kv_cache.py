"""The KV cache has the shapes of the model's own."""

from __future__ import annotations

import pytest
import torch
from transformers import DbrxConfig, DbrxForCausalLM
from transformers.models.dbrx.modeling_dbrx import DbrxAttention

from llmbench.engine.kv_cache import state_shapes
from llmbench.errors import InputError


@pytest.fixture
def model() -> DbrxForCausalLM:
    return DbrxForCausalLM(
        DbrxConfig(
            vocab_size=64,
            d_model=32,
            n_heads=4,
            n_layers=2,
            attn_config={"clip_qkv": 8.0, "kv_n_heads": 2, "rope_theta": 10000.0},
            ffn_config={"hidden_size": 32, "ffn_hidden_size": 32, "moe_num_experts": 2},
        )
    )


def test_each_layer_has_the_heads_and_head_size_of_its_keys_and_values(
    model: DbrxForCausalLM,
) -> None:
    assert state_shapes(model) == [((2, 8), (2, 8))] * 2


def test_a_model_that_fails_in_its_own_forward_is_refused_with_its_error(
    model: DbrxForCausalLM,
) -> None:
    for module in model.modules():
        if isinstance(module, DbrxAttention):
            module.clip_qkv = None  # as in a configuration without it
    with pytest.raises(InputError, match=r"own forward \(RuntimeError: torch.clamp: .*\); check"):
        state_shapes(model)


def test_memory_that_runs_out_is_not_a_refusal(
    model: DbrxForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(torch.OutOfMemoryError):
        state_shapes(model)
