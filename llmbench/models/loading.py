"""Load weights onto a device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from llmbench.errors import InputError
from llmbench.models import attention as attentions
from llmbench.models.failures import explained
from llmbench.models.shapes import SHAPES
from llmbench.models.source import ModelSource, locate
from llmbench.runs.caveats import Caveat
from llmbench.scenario.schema import ModelOptions


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What is to be known of a model that is ready to run, whatever runs it.

    ``context_length`` is in tokens; ``eos_ids`` are the ids that end an answer; ``weight_bytes``
    is what the weights really hold, ``compile_seconds`` what it took to compress, export or compile
    it.
    """

    context_length: int
    eos_ids: frozenset[int]
    vocabulary: int
    device: torch.device
    weight_bytes: int
    requested: dict[str, Any]
    effective: dict[str, Any]
    compile_seconds: float | None = None
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TorchModel(LoadedModel):
    """A torch module in eval mode; ``dropped_layers`` are those that it once had, from 0."""

    module: PreTrainedModel
    dropped_layers: tuple[int, ...] = ()


def load(options: ModelOptions, attention: str) -> TorchModel:
    """Load a model; raises InputError when it or its device cannot be had."""
    attentions.register()
    device = device_of(options.device)
    dtype = _dtype(options.dtype, device)
    with explained(options.source):
        module = _module(locate(options.source), options, device, dtype, attention)
    module.eval()
    config = module.config.get_text_config()
    return TorchModel(
        module=module,
        context_length=int(config.max_position_embeddings),
        eos_ids=_eos_ids(module),
        vocabulary=int(config.vocab_size),
        device=module.device,
        weight_bytes=weight_bytes(module),
        requested={
            "dtype": options.dtype,
            "device": "auto" if options.device == "auto" else str(device),
            "attention": attention,
        },
        effective={
            "dtype": str(module.dtype).removeprefix("torch."),
            "device": str(module.device),
            "attention": module.config._attn_implementation,  # noqa: SLF001 (no public name for it)
            "parameters": sum(p.numel() for p in module.parameters()),
            "architecture": type(module).__name__,
        },
    )


def weight_bytes(module: nn.Module) -> int:
    """Count the bytes of parameters and buffers as they are stored; tied ones count once."""
    return stored_bytes([module])


def stored_bytes(modules: Iterable[nn.Module]) -> int:
    """Count what parameters and buffers of modules hold together; what they share counts once."""
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    plain = {each.data_ptr(): each for tensor in tensors for each in _stored(tensor)}
    return sum(each.numel() * each.element_size() for each in plain.values())


def _stored(tensor: Tensor) -> Iterator[Tensor]:
    """Give the plain tensors of which one is made: a quantized or sparse one has several."""
    if type(tensor) in {Tensor, nn.Parameter, nn.Buffer}:
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined] # wrappers do
    for name in names:
        yield from _stored(getattr(tensor, name))


def device_of(requested: str) -> torch.device:
    """Return the device of a `model.device`; raise InputError when it is not there."""
    if requested == "auto":
        requested = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(requested)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        _require_gpu(requested, device.index)
    return device


def _require_gpu(requested: str, index: int) -> None:
    count = torch.cuda.device_count()
    if index >= count:
        raise InputError(
            f"model.device: {requested!r} was asked for and torch {torch.__version__} sees {count} "
            "GPU(s); use `device: auto` or `cpu`, or see `llmbench doctor`"
        )


def _dtype(requested: str, device: torch.device) -> torch.dtype:
    if requested == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, requested)
    return dtype


def _module(
    origin: ModelSource,
    options: ModelOptions,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
) -> PreTrainedModel:
    if origin.kind == "random":
        return _random(origin.where, options.seed, device, dtype, attention)
    if origin.kind == "served":
        raise InputError(
            f"model: {options.source} is on a server; load it with the endpoint backend, or name "
            "weights that this machine has"
        )
    if origin.kind == "gguf":
        return _gguf(Path(origin.where), device, dtype, attention)
    module: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        origin.where,
        dtype=dtype,
        attn_implementation=attention,
        trust_remote_code=options.trust_remote_code,
        use_safetensors=True,
    )
    module.to(device)  # type: ignore[arg-type]
    return module


def _random(
    shape: str, seed: int, device: torch.device, dtype: torch.dtype, attention: str
) -> PreTrainedModel:
    config = AutoConfig.for_model(SHAPES[shape].model_type, **SHAPES[shape].config)
    torch.manual_seed(seed)
    with device:
        module: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention
        )
    return module


def _gguf(path: Path, device: torch.device, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """Load a GGUF file, its weights expanded to ``dtype``; they are no longer quantized."""
    module: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=dtype, attn_implementation=attention
    )
    module.to(device)  # type: ignore[arg-type]
    return module


def _eos_ids(module: PreTrainedModel) -> frozenset[int]:
    ids = module.generation_config.eos_token_id
    ids = module.config.get_text_config().eos_token_id if ids is None else ids
    return frozenset() if ids is None else frozenset(ids if isinstance(ids, list) else [ids])
