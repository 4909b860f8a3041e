"""Which models can be divided among ranks."""

from __future__ import annotations

import pytest
from transformers import OPTConfig, OPTForCausalLM

from llmbench.errors import InputError
from llmbench.models import sharding


def opt() -> OPTForCausalLM:
    config = OPTConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32,
        max_position_embeddings=64, word_embed_proj_dim=32,
    )  # fmt: skip
    return OPTForCausalLM(config)


def test_a_model_without_a_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "CAN_DIVIDE", True)
    with pytest.raises(InputError, match=r"^parallel\.tensor: OPTForCausalLM has no plan for"):
        sharding.check_plan(opt())


def test_an_old_transformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "CAN_DIVIDE", False)
    with pytest.raises(InputError, match=r"install transformers 5\.23 or later"):
        sharding.check_plan(opt())
