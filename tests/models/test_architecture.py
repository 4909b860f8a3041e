"""An architecture is served, refused by its kind, or given another attention, before it loads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, PreTrainedConfig

from llmbench.errors import InputError
from llmbench.models import architecture
from llmbench.models.architecture import ModelClass

FOUR_LAYERS = {"num_hidden_layers": 4}
SHARING = {"num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2}


def config_of(model_type: str, **keys: Any) -> PreTrainedConfig:
    return AutoConfig.for_model(model_type, **keys)


def class_of(config: PreTrainedConfig) -> ModelClass:
    return architecture.model_class(config, "./nowhere", trust_remote_code=False)


def refusal_of(config: PreTrainedConfig) -> str:
    with pytest.raises(InputError) as refusal:
        architecture.check(config, class_of(config))
    message = str(refusal.value)
    assert message.endswith("use another model, or the endpoint backend with a server that runs it")
    return message.removeprefix("model: ").partition(";")[0]


@pytest.mark.parametrize(
    "model_type",
    [
        "llama",
        "gpt2",
        "gpt_neox",
        "gemma2",
        "gemma3_text",
        "qwen3_moe",
        "deepseek_v2",
        "opt",
        "gptj",
    ],
)
def test_decoders_with_plain_keys_and_values_are_served(model_type: str) -> None:
    config = config_of(model_type)
    architecture.check(config, class_of(config))


@pytest.mark.parametrize(
    ("model_type", "name"), [("mamba", "MambaForCausalLM"), ("rwkv", "RwkvForCausalLM")]
)
def test_state_space_models_are_refused(model_type: str, name: str) -> None:
    expected = f"{name} is a state-space model, whose layers keep a recurrent state"
    assert refusal_of(config_of(model_type)) == expected


def test_hybrid_models_are_refused_with_the_types_of_their_layers() -> None:
    conv = config_of("lfm2", **FOUR_LAYERS, layer_types=["conv", "full_attention"] * 2)
    expected = "Lfm2ForCausalLM is a hybrid model, with layers of type conv, full_attention"
    assert refusal_of(conv) == expected
    assert refusal_of(config_of("jamba")).startswith("JambaForCausalLM is a hybrid model")


def test_layers_of_other_types_are_refused() -> None:
    chunked = refusal_of(config_of("llama4_text", **FOUR_LAYERS))
    assert chunked == "Llama4ForCausalLM has layers of type chunked_attention"


def test_layers_that_share_keys_and_values_are_refused() -> None:
    config = config_of("gemma3n_text", **FOUR_LAYERS, **SHARING)
    assert "has layers without keys and values of their own" in refusal_of(config)


@pytest.mark.parametrize(
    ("model_type", "keys"), [("bloom", {}), ("mpt", {}), ("falcon", {"alibi": True})]
)
def test_alibi_is_refused(model_type: str, keys: dict[str, Any]) -> None:
    reason = refusal_of(config_of(model_type, **keys))
    assert reason.endswith("adds ALiBi position biases, which need a 2-D attention mask")


def test_alibi_that_is_turned_off_is_served() -> None:
    rotary = config_of("falcon", alibi=False)
    architecture.check(rotary, class_of(rotary))


@pytest.mark.parametrize(
    ("model_type", "keys", "inputs"),
    [
        ("openai-gpt", {}, "past_key_values"),
        ("xlnet", {}, "position_ids, past_key_values"),
        ("bart", {"is_encoder_decoder": False, "is_decoder": True}, "position_ids"),
    ],
)
def test_models_that_do_not_take_the_inputs_of_a_step_are_refused(
    model_type: str, keys: dict[str, Any], inputs: str
) -> None:
    assert refusal_of(config_of(model_type, **keys)).endswith(f"takes no {inputs}")


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("t5", "T5Config (model_type t5) configures an encoder-decoder model"),
        ("bart", "BartConfig (model_type bart) configures an encoder-decoder model"),
        ("bert", "BertLMHeadModel is an encoder (is_decoder: false)"),
        ("vit", "ViTConfig (model_type vit) has no causal language model in transformers"),
    ],
)
def test_configurations_of_other_models_are_refused(model_type: str, reason: str) -> None:
    assert refusal_of(config_of(model_type)).startswith(reason)


@pytest.mark.parametrize("requested", ["eager", "sdpa", "sdpa-grouped"])
def test_a_model_with_every_attention_runs_the_requested_one(requested: str) -> None:
    assert architecture.attention_of(LlamaForCausalLM, requested) == (requested, None)


@pytest.mark.parametrize("model_type", ["gemma2", "gpt_oss", "gptj"])
@pytest.mark.parametrize("requested", ["sdpa", "sdpa-grouped"])
def test_without_sdpa_a_model_runs_eager_attention(model_type: str, requested: str) -> None:
    attention, reason = architecture.attention_of(class_of(config_of(model_type)), requested)
    assert attention == "eager"
    assert reason is not None
    assert "has no SDPA attention in transformers" in reason


def test_a_model_with_a_table_of_its_own_runs_sdpa_instead_of_grouped_sdpa() -> None:
    falcon = class_of(config_of("falcon"))
    reason = "FalconForCausalLM takes its attention from a table of its own"
    assert architecture.attention_of(falcon, "sdpa-grouped") == ("sdpa", reason)
    assert architecture.attention_of(falcon, "sdpa") == ("sdpa", None)


@pytest.mark.parametrize(
    ("keys", "length"),
    [
        ({"max_position_embeddings": 256, "seq_length": 64}, 256),
        ({"max_seq_len": 64}, 64),
        ({"seq_length": 32}, 32),
        ({"n_positions": 16}, 16),
        ({"max_position_embeddings": None, "n_positions": 16}, 16),
        ({"max_position_embeddings": -1}, None),
        ({}, None),
    ],
)
def test_the_context_length_is_the_first_that_is_stated(
    keys: dict[str, int | None], length: int | None
) -> None:
    config: Any = SimpleNamespace(get_text_config=lambda: SimpleNamespace(**keys))
    assert architecture.context_length(config) == length


def test_the_context_length_of_a_model_is_that_of_its_text() -> None:
    assert architecture.context_length(LlamaConfig(max_position_embeddings=77)) == 77
