"""The costs of a model are those of its weights and its configuration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import families
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from llmbench.analysis.roofline.work import LayerCosts
from llmbench.engine import model_costs
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.model_costs import costs_of
from llmbench.errors import Unavailable
from llmbench.models.compress.linears import PackedInt8, replace_linears, unify
from llmbench.models.loading import weight_bytes

FLOAT = 4


def test_groups_of_weights_add_up_to_all_of_them(model: PreTrainedModel) -> None:
    costs = costs_of(model)
    groups = costs.matmul_bytes + costs.other_bytes + costs.embedding_bytes
    assert groups == weight_bytes(model)
    assert costs.other_bytes > 0


def test_a_position_takes_as_much_of_the_cache_as_the_cache_allocates(
    model: PreTrainedModel,
) -> None:
    cache = KvCache.allocate(model, slots=2, max_length=8)
    assert costs_of(model).kv_token_bytes * 16 == cache.nbytes


def test_matrices_of_a_llama_are_those_of_its_configuration() -> None:
    costs, size, inner = costs_of(families.build("llama")), 64, 128
    attention, gated = 2 * size * size + 2 * size * size // 2, 3 * size * inner
    assert costs.matmul_parameters == 2 * (attention + gated)
    assert costs.head_parameters == families.VOCABULARY * size
    assert costs.embedding_bytes == families.VOCABULARY * size * FLOAT
    assert costs.embedding_row_bytes == size * FLOAT
    assert costs.layers == (LayerCosts(count=2, heads=4, kv_heads=2, head_size=16),)


def test_matrices_of_gpt2_are_counted_although_they_are_not_linear_layers() -> None:
    costs, size = costs_of(families.build("gpt2")), 64
    assert costs.matmul_parameters == 2 * 12 * size * size
    assert costs.embedding_row_bytes == 2 * size * FLOAT  # of the token and of its position


def test_only_layers_with_sliding_attention_have_a_window() -> None:
    layers = costs_of(families.build("gemma3")).layers
    assert {(layer.count, layer.window) for layer in layers} == {(1, families.WINDOW), (1, None)}


def tiny(**more: Any) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**families.GROUPED, num_hidden_layers=1, **more))


def test_a_table_tied_to_the_head_is_read_whole() -> None:
    tied = costs_of(tiny(vocab_size=100, tie_word_embeddings=True))
    untied = costs_of(tiny(vocab_size=100, tie_word_embeddings=False))
    assert (tied.tied, untied.tied) == (True, False)
    assert tied.embedding_bytes == 0
    assert tied.matmul_bytes == untied.matmul_bytes


def test_packed_weights_have_their_stored_bytes_and_unpacked_parameters() -> None:
    model = families.build("gpt2")
    before = costs_of(model)
    unify(model)
    replace_linears(model, PackedInt8)
    after = costs_of(model)
    assert after.matmul_parameters == before.matmul_parameters
    assert after.head_parameters == before.head_parameters
    assert after.matmul_bytes < before.matmul_bytes / 3
    assert after.embedding_bytes == before.embedding_bytes


def test_states_have_the_width_of_the_models_dtype() -> None:
    model = tiny(vocab_size=100).to(torch.bfloat16)  # type: ignore[arg-type]
    assert costs_of(model).state_bytes == 2


def test_experts_are_not_counted() -> None:
    model = tiny(vocab_size=100)
    model.config.num_local_experts = 8
    with pytest.raises(Unavailable, match="experts"):
        costs_of(model)


def test_heads_that_differ_between_layers_are_not_counted() -> None:
    config = SimpleNamespace(num_attention_heads=[4, 2])  # as DeciLM and OpenELM have it
    with pytest.raises(Unavailable, match="differs between layers"):
        model_costs._refuse_uncountable(config)
