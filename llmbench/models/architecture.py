"""What the local engine needs of an architecture, read from its configuration and its class.

Nothing is loaded or allocated, and no model is known by its name, so the rules hold for
architectures that are newer than this file.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, cast

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    DynamicCache,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from llmbench.errors import InputError

ModelClass = type[PreTrainedModel]

FULL, SLIDING = "full_attention", "sliding_attention"
STATE_SPACE = {"linear_attention"}
RECURRENT = {*STATE_SPACE, "conv", "hybrid", "hybrid_sliding"}
PLAIN_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
# inputs of a step; a model that takes one of the first only among keywords may ignore it
NAMED_INPUTS = ("position_ids", "attention_mask", "past_key_values")
OTHER_INPUTS = ("input_ids", "use_cache", "logits_to_keep")
CONTEXT_KEYS = ("max_position_embeddings", "max_seq_len", "seq_length", "n_positions")


def model_class(config: PreTrainedConfig, where: str, *, trust_remote_code: bool) -> ModelClass:
    """Return the class of a configuration's causal language model.

    ``where`` is the folder or hub id, which may have code of its own. Raise InputError if the
    architecture is not a decoder.
    """
    own_code = getattr(config, "auto_map", None) or {}
    if trust_remote_code and "AutoModelForCausalLM" in own_code:
        own: ModelClass = get_class_from_dynamic_module(own_code["AutoModelForCausalLM"], where)
        return own
    name = f"{type(config).__name__} (model_type {config.model_type})"
    if config.is_encoder_decoder:
        raise refusal(name, "configures an encoder-decoder model")
    known = cast("ModelClass | None", MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None))
    if known is None:
        raise refusal(name, f"has no causal language model in transformers {_transformers()}")
    return known


def check(config: PreTrainedConfig, model: ModelClass) -> None:
    """Raise InputError for an architecture that the local engine cannot serve, with its kind."""
    if reason := next(_obstacles(config.get_text_config(), model), None):
        raise refusal(model.__name__, reason)


def refusal(name: str, reason: str) -> InputError:
    """Return the error for an architecture that the local engine cannot serve."""
    return InputError(
        f"model: {name} {reason}; the local engine serves decoders whose layers all cache plain "
        "keys and values; use another model, or the endpoint backend with a server that runs it"
    )


def _obstacles(config: Any, model: ModelClass) -> Iterator[str]:
    """Yield the reasons why the local engine cannot serve an architecture, as far as known."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if model._is_stateful or kinds & RECURRENT:  # noqa: SLF001 (transformers has no public name)
        yield _recurrent(kinds)
    if others := kinds - {FULL, SLIDING}:
        yield f"has layers of type {', '.join(sorted(others))}"
    if _uses_alibi(config, model):
        yield "adds ALiBi position biases, which need a 2-D attention mask"
    if getattr(config, "is_decoder", None) is False and "create_bidirectional_mask" in _code(model):
        yield "is an encoder (is_decoder: false)"
    if missing := _missing_inputs(model):
        yield f"takes no {', '.join(missing)}"
    layers = DynamicCache(config=config).layers
    if odd := {type(layer).__name__ for layer in layers if type(layer) not in PLAIN_LAYERS}:
        yield f"has layers without keys and values of their own ({', '.join(sorted(odd))})"


def _recurrent(kinds: set[str]) -> str:
    if kinds <= STATE_SPACE:
        return "is a state-space model, whose layers keep a recurrent state"
    return f"is a hybrid model, with layers of type {', '.join(sorted(kinds))}"


def _uses_alibi(config: Any, model: ModelClass) -> bool:
    """Return whether attention uses ALiBi, by the configuration or else by the model's code."""
    if (alibi := getattr(config, "alibi", None)) is not None:
        return bool(alibi)
    if (positions := getattr(config, "position_embedding_type", None)) is not None:
        return bool(positions == "alibi")
    return any("alibi" in name.lower() for name in _code(model))


def _code(model: ModelClass) -> Mapping[str, Any]:
    """Return the names in the module that defines a class."""
    return vars(sys.modules[model.__module__])


def _missing_inputs(model: ModelClass) -> list[str]:
    """Return the inputs of a step that a model's forward method does not take."""
    inputs = inspect.signature(model.forward).parameters
    takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in inputs.values())
    needed = NAMED_INPUTS if takes_more else (*NAMED_INPUTS, *OTHER_INPUTS)
    return [name for name in needed if name not in inputs]


def attention_of(model: ModelClass, requested: str) -> tuple[str, str | None]:
    """Return the attention that a class can run, and the reason if it is not the requested one."""
    name = model.__name__
    if requested != "eager" and not model._supports_sdpa:  # noqa: SLF001 (no public name)
        return "eager", f"{name} has no SDPA attention in transformers {_transformers()}"
    if requested == "sdpa-grouped" and not model._can_set_attn_implementation():  # noqa: SLF001
        return "sdpa", f"{name} takes its attention from a table of its own"
    return requested, None


def context_length(config: PreTrainedConfig) -> int | None:
    """Return a model's context length in tokens, or None if its configuration states none."""
    text = config.get_text_config()
    lengths = (getattr(text, key, None) for key in CONTEXT_KEYS)
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def _transformers() -> str:
    return version("transformers")
