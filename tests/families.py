"""Small models of three families, with weights that make varied text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

VOCABULARY = 256
WINDOW = 16

# A random model with tied embeddings repeats one token, and equality would prove nothing.
SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
    "initializer_range": 0.08,
}
GROUPED: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SHARED, **GROUPED, num_hidden_layers=2))


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(**SHARED, n_embd=64, n_layer=2, n_head=4, n_positions=256))


def gemma3() -> PreTrainedModel:
    config = Gemma3TextConfig(
        **SHARED, **GROUPED, num_hidden_layers=2, head_dim=16, sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    return Gemma3ForCausalLM(config)


FAMILIES = {"llama": llama, "gpt2": gpt2, "gemma3": gemma3}


def by_default(*names: str) -> pytest.MarkDecorator:
    """Return the mark of a test that runs with these families, and nightly with the others."""
    nightly = (pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name not in names)
    return pytest.mark.parametrize("family", [*names, *nightly], indirect=True)


def build(name: str) -> PreTrainedModel:
    """Return a model of the family with seeded weights and no token that ends an answer."""
    torch.manual_seed(7)
    model = FAMILIES[name]()
    model.eval()
    model.generation_config.eos_token_id = None
    return model
