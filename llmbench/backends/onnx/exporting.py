"""Export any transformers causal LM as an ONNX graph with GroupQueryAttention.

During torch.onnx.export, the model's attention function is replaced by one that emits a
``com.microsoft::GroupQueryAttention`` per layer, which writes new keys and values into the cache
and attends to each row's part of it. Rows may have different lengths.
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md)
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AttentionInterface, Cache, PreTrainedModel

from llmbench.engine.kv_cache import state_shapes
from llmbench.errors import InputError, ran_out

INPUTS = ("input_ids", "position_ids", "seqlens_k", "total_sequence_length", "last")
LOGITS = "logits"
OPSET = 18
RECIPE = "group-query-attention 3"
ATTENTION = "onnx-group-query"
REASON_LENGTH = 200
BEFORE_SINKS = 4  # optional inputs of the operator between the lengths and the sinks
USED_TENSORS = {"position_ids", "s_aux"}  # tensors passed to attention that the graph accounts for


Shape = tuple[int, int]


def cache_shapes(model: PreTrainedModel) -> list[Shape]:
    """Return the heads and head size of each layer's keys, then of its values."""
    return [shape for states in state_shapes(model) for shape in states]


def cache_names(prefix: str, layers: int) -> list[str]:
    """Return the names of the KV cache's inputs (``past``) or outputs (``present``)."""
    return [f"{prefix}.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def recipe() -> dict[str, Any]:
    """Return the cache-key components besides the model: the recipe, opset and versions."""
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"recipe": RECIPE, "opset": OPSET, **versions}


def export(model: PreTrainedModel, path: Path) -> None:
    """Write a model's graph to ``path``, with its weights next to it.

    Inputs are ``input_ids`` and ``position_ids`` [rows, length], ``seqlens_k`` [rows] (int32, the
    length after this step minus one), ``total_sequence_length`` (int32, the longest row's length),
    ``last`` [rows] (the position of each row's logits) and each layer's past key and value [rows,
    heads, max length, size]; outputs are ``logits`` [rows, vocabulary] and the same caches. Raise
    InputError if the model cannot be exported.
    """
    shapes = cache_shapes(model)
    try:
        program = _program(model, shapes)
    except Exception as error:  # the exporter lets errors of any type through
        if ran_out(error):
            raise
        raise InputError(
            f"model: {type(model).__name__} cannot be exported to ONNX: {reason_of(error)}; use "
            "`eager` or `compiled`"
        ) from error
    program.save(path, external_data=True)


class UnsupportedError(Exception):
    """A model's attention cannot be replaced by the operator."""


def _program(model: PreTrainedModel, shapes: Sequence[Shape]) -> torch.onnx.ONNXProgram:
    layers = len(shapes) // 2
    operator = _GroupQuery()
    with _replaced_attention(model, operator, shapes), _without_logs():
        _untie(model)
        program = torch.onnx.export(
            _Graph(model, operator),
            _example(shapes, model.dtype),
            dynamo=True,
            opset_version=OPSET,
            input_names=[*INPUTS, *cache_names("past", layers)],
            output_names=[LOGITS, *cache_names("present", layers)],
            dynamic_shapes=_dynamic(layers),
            verbose=False,
        )
    if program is None:
        raise UnsupportedError("torch.onnx.export returned no program")
    return program


@contextmanager
def _without_logs() -> Iterator[None]:
    """Suppress notices: the exporter logs every tensor, and whole graphs when it fails."""
    logging.disable()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _replaced_attention(
    model: PreTrainedModel, operator: _GroupQuery, shapes: Sequence[Shape]
) -> Iterator[None]:
    """Replace the attention of all layers; raise UnsupportedError if that is impossible."""
    if shapes[::2] != shapes[1::2]:
        raise UnsupportedError("keys and values differ in shape (multi-head latent attention)")
    if not model._can_set_attn_implementation():  # noqa: SLF001 (transformers has no public name)
        raise UnsupportedError("its attention is not taken from transformers' AttentionInterface")
    own = model.config._attn_implementation  # noqa: SLF001 (the same)
    AttentionInterface.register(ATTENTION, operator.attend)
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def reason_of(error: BaseException) -> str:
    """Return the operator that cannot be exported, or the first line of the original error."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    if operator := re.search(r"OpOverload\(op='([\w.]+)'", text):
        return f"operator {operator[1]}"
    first = text.partition("\n")[0]
    reason = first if isinstance(error, UnsupportedError) else f"{type(error).__name__}: {first}"
    return shorten(reason, REASON_LENGTH, placeholder=" ...")


def _untie(model: PreTrainedModel) -> None:
    """Untie the head's weights: tied ones are exported as a transpose, which no tool quantizes."""
    head = model.get_output_embeddings()
    if isinstance(head, nn.Linear):
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)


def _example(shapes: Sequence[Shape], dtype: torch.dtype) -> tuple[Any, ...]:
    rows, length, room = 2, 3, 8
    past = [torch.zeros(rows, heads, room, size, dtype=dtype) for heads, size in shapes]
    return (
        torch.ones(rows, length, dtype=torch.long),
        torch.arange(length).repeat(rows, 1),
        torch.full((rows,), length - 1, dtype=torch.int32),
        torch.tensor(length, dtype=torch.int32),
        torch.full((rows,), length - 1),
        past,
    )


def _dynamic(layers: int) -> tuple[Any, ...]:
    rows, length, room = (torch.export.Dim(name) for name in ("rows", "length", "room"))
    tokens = {0: rows, 1: length}
    return (tokens, tokens, {0: rows}, {}, {0: rows}, [{0: rows, 2: room}] * (2 * layers))


class _NewStates(Cache):
    """A cache that returns only the new keys and values, since the operator stores them."""

    def __init__(self) -> None:
        self.layers = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the new keys and values unchanged."""
        del layer_idx
        return key_states, value_states


class _GroupQuery:
    """Replaces a model's attention and collects the outputs of each layer's operator."""

    past: Sequence[Tensor]
    lengths: tuple[Tensor, Tensor]
    present: dict[int, Sequence[Tensor]]

    def attend(  # noqa: PLR0917 (signature required by transformers)
        self,
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Emit one layer's operator; query, key and value are [rows, heads, length, size]."""
        del attention_mask  # the operator handles causality, lengths and windows
        layer: int = module.layer_idx
        past = self.past[2 * layer : 2 * layer + 2]
        self._check(layer, options)
        _check_heads(key, past[0])
        rows, heads, length, _ = query.shape
        flat = [state.transpose(1, 2).reshape(rows, length, -1) for state in (query, key, value)]
        attended, *present = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            [*flat, *past, *self.lengths, *_sinks(options.get("s_aux"), query.dtype)],
            {
                "num_heads": heads,
                "kv_num_heads": key.shape[1],
                "scale": float(scaling or 0.0),  # 0 means 1 / sqrt(size)
                "local_window_size": options.get("sliding_window") or -1,
                "softcap": float(options.get("softcap") or 0.0),
            },
            dtypes=[query.dtype] * 3,
            shapes=[flat[0].shape, past[0].shape, past[1].shape],
            version=1,
        )
        self.present[layer] = present
        return attended.reshape(rows, length, heads, -1), None

    def _check(self, layer: int, options: Mapping[str, Any]) -> None:
        """Raise UnsupportedError for a call that the operator cannot stand for."""
        if layer in self.present:
            raise UnsupportedError(f"layer {layer} calls attention twice")
        tensors = {name for name, value in options.items() if isinstance(value, Tensor)}
        if unused := tensors - USED_TENSORS:
            raise UnsupportedError(f"attention with {', '.join(sorted(unused))}")


def _check_heads(keys: Tensor, cached: Tensor) -> None:
    """Raise UnsupportedError for a layer that repeats its keys after it caches them."""
    if keys.shape[1] != cached.shape[1]:
        raise UnsupportedError(
            f"its layers cache {cached.shape[1]} heads and attend to {keys.shape[1]}"
        )


def _sinks(sinks: Tensor | None, dtype: torch.dtype) -> list[Tensor | None]:
    """Return the operator's last inputs for attention sinks [heads]; none without sinks."""
    return [] if sinks is None else [*[None] * BEFORE_SINKS, sinks.to(dtype)]


@contextmanager
def _last_states(model: PreTrainedModel, last: Tensor) -> Iterator[None]:
    """Pass to the model's head only the hidden state at each row's position in ``last`` [rows].

    transformers' ``logits_to_keep`` selects the same positions in all rows.
    """

    def select(_head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        states = inputs[0]
        return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[-1]))

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


class _Graph(nn.Module):
    """A model with an explicit cache: past tensors as inputs, present ones as outputs."""

    def __init__(self, model: PreTrainedModel, operator: _GroupQuery) -> None:
        super().__init__()
        self.model = model
        self.operator = operator

    def forward(  # noqa: PLR0917 (the inputs of the graph)
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        seqlens_k: Tensor,
        total_sequence_length: Tensor,
        last: Tensor,
        past: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """Run one step on rows of different lengths; return the last logits and the new caches."""
        operator = self.operator
        operator.past, operator.lengths = past, (seqlens_k, total_sequence_length)
        operator.present = {}
        with _last_states(self.model, last):
            logits = self.model(
                input_ids=input_ids,
                position_ids=position_ids,
                past_key_values=_NewStates(),
                use_cache=True,
            ).logits
        if logits.shape[1] != 1:
            raise UnsupportedError("its logits are not those of its output embeddings")
        present = operator.present
        if len(present) < len(past) // 2:
            calls = f"{len(present)} of {len(past) // 2} layers"
            raise UnsupportedError(f"only {calls} take attention from AttentionInterface")
        return logits[:, 0], *(state for layer in sorted(present) for state in present[layer])
