"""Quantize the linear layers of a torch model: packed kernels on CPUs, torchao on CUDA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from llmbench.errors import InputError, MissingExtraError
from llmbench.models.compress.linears import (
    PackedInt4,
    PackedInt8,
    pad_rows,
    replace_linears,
    unify,
)
from llmbench.models.compress.recipe import Scheme
from llmbench.models.loading import TorchModel, device_of, weight_bytes
from llmbench.runs.caveats import Caveat
from llmbench.scenario.schema import ModelOptions


@dataclass(frozen=True, slots=True)
class _OnCuda:
    """A torchao configuration, its required compute capability and a description of its kernels."""

    config: str
    options: dict[str, Any]
    kernels: str
    capability: tuple[int, int] = (8, 0)


_INT4 = {"group_size": 128, "int4_packing_format": "tile_packed_to_4d"}

ON_CPU: dict[str, tuple[Callable[[nn.Linear], nn.Module | None], str]] = {
    "int8-weight-only": (PackedInt8, "aten packed kernel, one scale per output"),
    "int4-weight-only": (PackedInt4.of, "aten packed kernel, groups of 64 or 32"),
}
ON_CUDA = {
    "int8-weight-only": _OnCuda("Int8WeightOnlyConfig", {}, "torchao, one scale per output"),
    "int8-dynamic": _OnCuda(
        "Int8DynamicActivationInt8WeightConfig", {}, "torchao, activations quantized dynamically"
    ),
    "int4-weight-only": _OnCuda("Int4WeightOnlyConfig", _INT4, "torchao, tinygemm, groups of 128"),
    "int4-hqq": _OnCuda(
        "Int4WeightOnlyConfig",
        {**_INT4, "int4_choose_qparams_algorithm": "hqq"},
        "torchao, tinygemm, half-quadratic, groups of 128",
    ),
    "float8": _OnCuda(
        "Float8DynamicActivationFloat8WeightConfig", {}, "torchao, one scale per tensor", (8, 9)
    ),
}


def check(scheme: Scheme, options: ModelOptions) -> None:
    """Raise InputError if torch lacks kernels for a quantization scheme on the model's device."""
    device = device_of(options.device)
    offered: dict[str, Any] = ON_CUDA if device.type == "cuda" else ON_CPU
    if scheme not in offered:
        raise InputError(
            f"compress: torch has no kernels for {scheme} on {device.type}; it has "
            f"{', '.join(offered)}{_elsewhere(scheme, device)}"
        )
    if device.type == "cuda":
        _check_cuda(scheme, device, options.dtype)


def _elsewhere(scheme: Scheme, device: torch.device) -> str:
    if device.type == "cpu" and scheme == "float8":
        return "; float8 needs CUDA, compute capability 8.9 or later"
    return f"; onnx has {scheme}"


def _check_cuda(scheme: Scheme, device: torch.device, dtype: str) -> None:
    if find_spec("torchao") is None:
        raise MissingExtraError(f"{scheme} on CUDA", "torchao", "quant")
    required, actual = ON_CUDA[scheme].capability, torch.cuda.get_device_capability(device)
    if actual < required:
        raise InputError(
            f"compress: {scheme} needs compute capability {'.'.join(map(str, required))} and "
            f"{torch.cuda.get_device_name(device)} has {'.'.join(map(str, actual))}"
        )
    if scheme.startswith("int4") and dtype not in {"auto", "bfloat16"}:
        raise InputError(f"compress: {scheme} on CUDA needs model.dtype bfloat16, not {dtype}")


def quantized(model: TorchModel, scheme: Scheme) -> TorchModel:
    """Quantize a model in place with a scheme that passed ``check``, and return it."""
    unify(model.module)
    on_cuda = model.device.type == "cuda"
    kernels = _by_torchao(model.module, scheme) if on_cuda else _packed(model.module, scheme)
    slow = model.device.type == "cpu" and model.module.dtype == torch.float32
    return replace(
        model,
        weight_bytes=weight_bytes(model.module),
        requested={**model.requested, "quantize": scheme},
        effective={**model.effective, "quantize": scheme, "quantize_kernels": kernels},
        caveats=(*model.caveats, Caveat("slow-packed-dtype")) if slow else model.caveats,
    )


def _packed(module: Any, scheme: Scheme) -> str:
    make, kernels = ON_CPU[scheme]
    packed, linears = replace_linears(module, make)
    return f"{kernels}, {packed} of {linears} linear layers"


def _by_torchao(module: Any, scheme: Scheme) -> str:
    from torchao import quantization  # noqa: PLC0415 (an extra)

    chosen = ON_CUDA[scheme]
    config = getattr(quantization, chosen.config)(**chosen.options)
    quantization.quantize_(module, config)
    if scheme == "int8-dynamic":
        pad_rows(module)
    return chosen.kernels
