"""Load models onto a device, and save them as transformers folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from llmbench.errors import InputError
from llmbench.models import architecture, kernels
from llmbench.models.shapes import SHAPES
from llmbench.models.source import ModelSource, loading_errors, locate
from llmbench.models.tokenizing import TrainedTokenizer
from llmbench.runs.caveats import Caveat
from llmbench.scenario.schema import ModelOptions


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A loaded model, for any runtime.

    ``context_length`` is in tokens, or None if the configuration states none; ``eos_ids`` are the
    token ids that end an output; ``weight_bytes`` is the stored size of the weights,
    ``compile_seconds`` the time spent on compressing, exporting or compiling the model.
    ``reasons`` has the reason why an effective setting differs from the requested one, by setting.
    """

    context_length: int | None
    eos_ids: frozenset[int]
    vocabulary: int
    device: torch.device
    weight_bytes: int
    requested: dict[str, Any]
    effective: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    compile_seconds: float | None = None
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TorchModel(LoadedModel):
    """A model in torch, in eval mode; ``dropped_layers`` are the indices of pruned layers."""

    module: PreTrainedModel
    dropped_layers: tuple[int, ...] = ()


def load(options: ModelOptions, attention: str) -> TorchModel:
    """Load a model; raise InputError if it, its device or its architecture is not supported.

    A model without the requested attention runs with the next best that it has.
    """
    kernels.register_attention()
    source, device = locate(options.source), device_of(options.device)
    dtype = _dtype(options.dtype, device)
    with loading_errors(options.source):
        config = _config(source, options)
        model_class = architecture.model_class(
            config, source.pretrained[0], trust_remote_code=options.trust_remote_code
        )
        architecture.check(config, model_class)
        runnable, reason = architecture.attention_of(model_class, attention)
        module = _module(source, config, options, device=device, dtype=dtype, attention=runnable)
    module.eval()
    length = architecture.context_length(module.config)
    return TorchModel(
        module=module,
        context_length=length,
        eos_ids=_eos_ids(module),
        vocabulary=int(module.config.get_text_config().vocab_size),
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
        reasons={"attention": reason} if reason else {},
        caveats=() if length else (Caveat("context-unknown"),),
    )


def weight_bytes(module: nn.Module) -> int:
    """Return the stored size of parameters and buffers in bytes; tied ones count once."""
    return stored_bytes([module])


def stored_bytes(modules: Iterable[nn.Module]) -> int:
    """Return the stored size of several modules in bytes; shared tensors count once."""
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    plain = {part.data_ptr(): part for tensor in tensors for part in _stored(tensor)}
    return sum(part.numel() * part.element_size() for part in plain.values())


def _stored(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that store a tensor in this process: several if it is quantized."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to_local()
    if type(tensor) in {Tensor, nn.Parameter, nn.Buffer}:
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined] # wrappers do
    for name in names:
        yield from _stored(getattr(tensor, name))


def device_of(requested: str) -> torch.device:
    """Return the torch device for a value of `model.device`; raise InputError for a missing GPU."""
    if requested == "auto":
        requested = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(requested)
    if device.type != "cuda":
        return device
    device = torch.device("cuda", device.index or 0)
    if device.index >= (count := torch.cuda.device_count()):
        raise InputError(
            f"model.device: {requested!r} was requested, but torch {torch.__version__} sees "
            f"{count} GPU(s); use `device: auto` or `cpu`, or see `llmbench doctor`"
        )
    return device


def _dtype(requested: str, device: torch.device) -> torch.dtype:
    if requested == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, requested)
    return dtype


def _config(source: ModelSource, options: ModelOptions) -> PreTrainedConfig:
    """Return the configuration of a model source, without its weights."""
    if source.kind == "served":
        raise InputError(
            f"model: {options.source} is on a server; use the endpoint backend, or "
            "specify weights on this machine"
        )
    config: PreTrainedConfig
    if source.kind == "random":
        shape = SHAPES[source.where]
        config = AutoConfig.for_model(shape.model_type, **shape.config)
        return config
    where, gguf = source.pretrained
    config = AutoConfig.from_pretrained(where, **gguf, trust_remote_code=options.trust_remote_code)
    return config


def _module(
    source: ModelSource,
    config: PreTrainedConfig,
    options: ModelOptions,
    *,
    device: torch.device,
    dtype: torch.dtype,
    attention: str,
) -> PreTrainedModel:
    """Return the module of a model source, on its device."""
    module: PreTrainedModel
    if source.kind == "random":
        torch.manual_seed(options.seed)
        with device:
            module = AutoModelForCausalLM.from_config(
                config, dtype=dtype, attn_implementation=attention
            )
        return module
    where, gguf = source.pretrained
    module = AutoModelForCausalLM.from_pretrained(
        where,
        config=config,
        **gguf,
        dtype=dtype,  # GGUF weights are dequantized to it
        attn_implementation=attention,
        trust_remote_code=options.trust_remote_code,
        use_safetensors=True,
    )
    module.to(device)  # type: ignore[arg-type]
    return module


def _eos_ids(module: PreTrainedModel) -> frozenset[int]:
    ids = module.generation_config.eos_token_id
    ids = getattr(module.config.get_text_config(), "eos_token_id", None) if ids is None else ids
    return frozenset() if ids is None else frozenset(ids if isinstance(ids, list) else [ids])


def save(
    module: PreTrainedModel, tokenizer: TrainedTokenizer, folder: Path, notes: dict[str, str]
) -> None:
    """Save a model as a transformers folder: weights (safetensors), configuration, tokenizer.

    ``notes`` are further text files by name. The folder is written under a temporary name and
    renamed when it is complete.
    """
    # the configuration from a GGUF file describes a quantization that no longer applies
    vars(module.config).pop("quantization_config", None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        module.save_pretrained(partial)
        tokenizer.tokenizer.save_pretrained(partial)
        for name, text in notes.items():
            (partial / name).write_text(text, "utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
