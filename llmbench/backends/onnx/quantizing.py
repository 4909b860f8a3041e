"""Quantize the matrix products of an exported graph with onnxruntime's own tools."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, matmul_nbits_quantizer, quantize_dynamic

from llmbench.errors import InputError
from llmbench.models.compress import Scheme

BLOCK = 32
INT8_ACTIVATIONS = 4  # the accuracy level at which the kernels multiply integers
PACKED = "MatMulNBits"
RECIPE = 1  # a graph of another number is not used again


@dataclass(frozen=True, slots=True)
class _Way:
    """What a scheme does in a few words, and the providers that have kernels for it."""

    told: str
    providers: tuple[str, ...]


BOTH = ("cpu", "cuda")
WAYS = {
    "int8-weight-only": _Way(f"{PACKED}, 8 bits, round to nearest, blocks of {BLOCK}", BOTH),
    "int4-weight-only": _Way(f"{PACKED}, 4 bits, round to nearest, blocks of {BLOCK}", BOTH),
    "int4-hqq": _Way(f"{PACKED}, 4 bits, half-quadratic, blocks of {BLOCK}", BOTH),
    "int4-k-quant": _Way(f"{PACKED}, 4 bits, k-quant, blocks of {BLOCK}", BOTH),
    "int8-dynamic": _Way("MatMulInteger, a scale an output, activations as they come", ("cpu",)),
}


def check(scheme: Scheme, provider: str) -> None:
    """Raise InputError when a provider (``cpu``, ``cuda``) has no kernels for a scheme."""
    offered = [name for name, way in WAYS.items() if provider in way.providers]
    if scheme not in offered:
        does = f"there it does {', '.join(offered)}" if offered else "leave `quantize` out"
        raise InputError(
            f"compress: onnxruntime has no kernels for {scheme} with provider {provider}; {does}"
        )


def told(scheme: Scheme) -> str:
    """Say what a scheme does."""
    return f"{scheme}: {WAYS[scheme].told}"


def quantize(graph: Path, scheme: Scheme, path: Path) -> None:
    """Write the quantized graph to ``path`` and its weights beside it.

    Raises InputError where the tool cannot take the sizes of the model's layers.
    """
    logging.disable()  # the tool tells of every tensor, of no use to who measures
    try:
        with warnings.catch_warnings(action="ignore"):
            _dynamic(graph, path) if scheme == "int8-dynamic" else _packed(graph, scheme, path)
    except ValueError as error:
        raise InputError(
            f"compress: onnxruntime's tool cannot apply {scheme} to this model ({error}); take "
            "another scheme"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def _dynamic(graph: Path, path: Path) -> None:
    quantize_dynamic(
        graph,
        path,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def _packed(graph: Path, scheme: Scheme, path: Path) -> None:
    model = onnx.load(graph)
    quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(model, algo_config=_way(scheme)())
    quantizer.process()
    packed = quantizer.model.model
    _multiply_integers(packed)
    onnx.save(packed, path, save_as_external_data=True, location=f"{path.name}.data")


def _way(scheme: Scheme) -> Any:
    tools = matmul_nbits_quantizer
    nearest = partial(tools.DefaultWeightOnlyQuantConfig, block_size=BLOCK, is_symmetric=True)
    return {
        "int8-weight-only": partial(nearest, bits=8),
        "int4-weight-only": partial(nearest, bits=4),
        "int4-hqq": partial(tools.HQQWeightOnlyQuantConfig, block_size=BLOCK),
        "int4-k-quant": tools.KQuantWeightOnlyQuantConfig,
    }[scheme]


def _multiply_integers(model: onnx.ModelProto) -> None:
    """Ask for integer products, which not every algorithm of the tool lets one set."""
    for node in model.graph.node:
        if node.op_type == PACKED:
            kept = [a for a in node.attribute if a.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend(
                [*kept, onnx.helper.make_attribute("accuracy_level", INT8_ACTIVATIONS)]
            )
