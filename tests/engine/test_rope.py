"""RoPE factors that depend on the longest sequence of a batch are pinned, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from greedy import answers, generated
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from llmbench import models
from llmbench.engine import rope
from llmbench.engine.buckets import Buckets
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.runner import TorchRunner
from llmbench.engine.sampling import Greedy
from llmbench.errors import InputError
from llmbench.runs.request import Request
from llmbench.scenario.schema import ModelOptions

SHARED: dict[str, Any] = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_hidden_layers": 2, "initializer_range": 0.08,
    "tie_word_embeddings": False, "pad_token_id": 0,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "factor": 8.0, "short_factor": [1.0] * 8,
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
    "original_max_position_embeddings": 32,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
BY_LAYER = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    "full_attention": LONGROPE,
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "longrope": {
        "model_type": "phi3", "max_position_embeddings": 256, "rope_parameters": LONGROPE,
        "original_max_position_embeddings": 32,
    },
    "dynamic": {"model_type": "llama", "max_position_embeddings": 32, "rope_parameters": DYNAMIC},
    "by layer": {
        "model_type": "gemma3_text", "max_position_embeddings": 256, "rope_parameters": BY_LAYER,
        "head_dim": 16, "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}  # fmt: skip
SHORT = [
    Request(number, tuple(range(5 + number, 5 + number + length)), answer)
    for number, (length, answer) in enumerate([(3, 12), (20, 12), (9, 20)])
]


@pytest.fixture(params=CONFIGURATIONS)
def varying(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A model whose factors change beyond 32 tokens."""
    config = AutoConfig.for_model(**SHARED, **CONFIGURATIONS[request.param])
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.eval()
    model.generation_config.eos_token_id = None
    return model


def test_sequences_beyond_the_original_length_are_refused(varying: PreTrainedModel) -> None:
    with pytest.raises(
        InputError,
        match=r"rotary embeddings of type (longrope|dynamic), .* beyond 32 tokens, but the longest "
        r"request has 33 \(prompt and output\); use requests of up to 32 tokens",
    ):
        rope.pin(varying, 33)


def test_a_runner_with_longer_slots_refuses_factors_that_are_not_pinned(
    varying: PreTrainedModel,
) -> None:
    with pytest.raises(InputError, match="beyond 32 tokens"):
        runner_of(varying)


def test_pinned_factors_do_not_depend_on_the_positions_of_a_batch(varying: PreTrainedModel) -> None:
    short, long = torch.arange(8)[None], torch.arange(64)[None]
    expected = varying(short, use_cache=False).logits
    rope.pin(varying, 32)
    varying(long, use_cache=False)
    assert torch.equal(varying(short, use_cache=False).logits, expected)


def test_factors_that_a_longer_batch_has_changed_are_restored(varying: PreTrainedModel) -> None:
    short, long = torch.arange(8)[None], torch.arange(64)[None]
    expected = varying(short, use_cache=False).logits
    varying(long, use_cache=False)
    rope.pin(varying, 32)
    assert torch.equal(varying(short, use_cache=False).logits, expected)


def test_short_answers_equal_generate(varying: PreTrainedModel) -> None:
    expected = {request.id: generated(varying, request) for request in SHORT}
    rope.pin(varying, 32)
    assert answers(runner_of(varying), SHORT) == expected


def runner_of(model: PreTrainedModel) -> TorchRunner:
    cache = KvCache.allocate(model, 3, 64)  # longer than the sequences, as rounded up
    return TorchRunner(model, cache, Greedy(), Buckets(range(1, 65), range(1, 4), (64,)))


def test_a_pinned_models_context_ends_where_its_factors_would_change(
    varying: PreTrainedModel,
) -> None:
    loaded = models.load_model(ModelOptions(source="random:tiny", device="cpu"))
    pinned = rope.pinned(replace(loaded, module=varying, context_length=256), longest=32)
    assert pinned.context_length == 32
    assert pinned.effective["rope"] in {
        "longrope: pinned to the factors for up to 32 tokens",
        "dynamic: pinned to the factors for up to 32 tokens",
    }


def test_other_models_are_unchanged() -> None:
    loaded = models.load_model(ModelOptions(source="random:tiny", device="cpu"))
    assert rope.pinned(loaded, longest=2048) is loaded
