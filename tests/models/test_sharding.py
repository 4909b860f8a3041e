"""Which models can be divided among ranks."""

from __future__ import annotations

import pytest
from transformers import OPTConfig, OPTForCausalLM

from llmbench.errors import InputError
from llmbench.models.sharding import check_plan


def test_a_model_without_a_plan_is_refused() -> None:
    config = OPTConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32,
        max_position_embeddings=64, word_embed_proj_dim=32,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"^parallel\.tensor: OPTForCausalLM has no plan for"):
        check_plan(OPTForCausalLM(config))
