"""Costs of a graph's steps, from the sizes of the weights that they read."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import helper

from llmbench.analysis.roofline.work import ModelCosts

# inputs from which an operator gathers rows: embeddings and rotary tables
LOOKED_UP = {
    "Gather": (0,),
    "GatherBlockQuantized": (0, 2, 3),
    "GroupQueryAttention": (7, 8),
    "RotaryEmbedding": (2, 3),
}
MATRIX = 2  # dimensions


def costs_of_graph(graph: Path, costs: ModelCosts) -> ModelCosts:
    """Return a model's costs, with the sizes of its weights as stored in the graph.

    Reads the weights' shapes and types, not their data.
    """
    model = onnx.load(graph, load_external_data=False).graph
    sizes = {tensor.name: _nbytes(tensor) for tensor in model.initializer}
    matrices = {tensor.name for tensor in model.initializer if len(tensor.dims) >= MATRIX}
    rows = {t.name: sizes[t.name] // t.dims[0] for t in model.initializer if t.name in matrices}
    looked_up, whole = _uses(model.node)
    tables = looked_up & matrices
    read = [name for name in sizes if name in whole or name not in tables]
    return replace(
        costs,
        matmul_bytes=sum(sizes[name] for name in read if name in matrices),
        other_bytes=sum(sizes[name] for name in read if name not in matrices),
        embedding_bytes=sum(sizes[name] for name in tables - whole),
        embedding_row_bytes=sum(rows[name] for name in tables),
        tied=bool(tables & whole),
    )


def _uses(nodes: Iterable[onnx.NodeProto]) -> tuple[set[str], set[str]]:
    """Return the names of inputs of which only some rows are read, and of inputs read in full."""
    uses: dict[bool, set[str]] = defaultdict(set)
    for node in nodes:
        for index, name in enumerate(node.input):
            uses[index in LOOKED_UP.get(node.op_type, ())].add(name)
    return uses[True], uses[False]


def _nbytes(tensor: onnx.TensorProto) -> int:
    numbers: int = math.prod(tensor.dims)
    return numbers * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
