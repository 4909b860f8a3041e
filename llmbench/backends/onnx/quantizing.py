"""Quantization of an exported graph's matrix products, with onnxruntime's tools."""

from __future__ import annotations

import logging
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, matmul_nbits_quantizer, quantize_dynamic

from llmbench.errors import InputError
from llmbench.models.compress import Scheme

BLOCK = 32
INT8_ACTIVATIONS = 4  # the accuracy level that selects integer kernels
PACKED = "MatMulNBits"
RECIPE = 2  # part of the cache key


# descriptions for the effective settings
KERNELS = {
    "int8-weight-only": f"{PACKED}, 8 bits, round to nearest, blocks of {BLOCK}",
    "int4-weight-only": f"{PACKED}, 4 bits, round to nearest, blocks of {BLOCK}",
    "int4-hqq": f"{PACKED}, 4 bits, half-quadratic, blocks of {BLOCK}",
    "int4-k-quant": f"{PACKED}, 4 bits, k-quant, blocks of {BLOCK}",
    "int8-dynamic": "MatMulInteger, one scale per output, activations quantized dynamically",
}
OFFERED = {"cpu": list(KERNELS), "cuda": [name for name in KERNELS if name != "int8-dynamic"]}


def check(scheme: Scheme, provider: str) -> None:
    """Raise InputError if a provider (``cpu``, ``cuda``) has no kernels for ``scheme``."""
    offered = OFFERED.get(provider, [])
    if scheme not in offered:
        advice = f"use one of {', '.join(offered)}" if offered else "remove `quantize`"
        raise InputError(
            f"compress: onnxruntime has no kernels for {scheme} with provider {provider}; {advice}"
        )


def quantize(graph: Path, scheme: Scheme, path: Path) -> None:
    """Quantize a graph and write the result to ``path``, with its weights next to it.

    Raises InputError when onnxruntime's tool cannot quantize the model.
    """
    logging.disable()  # the tool logs every tensor
    try:
        with warnings.catch_warnings(action="ignore"):
            _dynamic(graph, path) if scheme == "int8-dynamic" else _packed(graph, scheme, path)
    except ValueError as error:
        raise InputError(
            f"compress: onnxruntime's tool cannot apply {scheme} to this model ({error}); use "
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
    quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(model, algo_config=_algorithm(scheme)())
    quantizer.process()
    packed = quantizer.model.model
    _multiply_integers(packed)
    onnx.save(packed, path, save_as_external_data=True, location=f"{path.name}.data")


def _algorithm(scheme: Scheme) -> Any:
    tools = matmul_nbits_quantizer
    nearest = partial(tools.DefaultWeightOnlyQuantConfig, block_size=BLOCK, is_symmetric=True)
    return {
        "int8-weight-only": partial(nearest, bits=8),
        "int4-weight-only": partial(nearest, bits=4),
        "int4-hqq": partial(tools.HQQWeightOnlyQuantConfig, block_size=BLOCK),
        "int4-k-quant": tools.KQuantWeightOnlyQuantConfig,
    }[scheme]


def _multiply_integers(model: onnx.ModelProto) -> None:
    """Request integer kernels, which quantize activations to 8 bits, for every MatMulNBits."""
    for node in model.graph.node:
        if node.op_type == PACKED:
            kept = [a for a in node.attribute if a.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend(
                [*kept, onnx.helper.make_attribute("accuracy_level", INT8_ACTIVATIONS)]
            )
