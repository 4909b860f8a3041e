"""The costs of a graph depend on how its operators read its weights."""

from __future__ import annotations

from pathlib import Path

import families
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from llmbench.backends.onnx import Onnx, weights
from llmbench.engine.model_costs import costs_of
from llmbench.testing import open_context


def graph_of(folder: Path, nodes: list[onnx.NodeProto], **shapes: tuple[int, ...]) -> Path:
    tensors = [
        numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes, "steps", [source], [given], tensors)
    onnx.save(helper.make_model(graph), folder / "model.onnx")
    return folder / "model.onnx"


def test_tables_are_read_by_rows_and_matrices_whole(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("MatMul", ["e", "matrix"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["y"]),
    ]
    path = graph_of(tmp_path, nodes, table=(50, 8), matrix=(8, 6), bias=(6,))
    costs = weights.costs_of_graph(path, costs_of(families.build("llama")))
    assert (costs.embedding_bytes, costs.embedding_row_bytes) == (50 * 8 * 4, 8 * 4)
    assert (costs.matmul_bytes, costs.other_bytes) == (8 * 6 * 4, 6 * 4)
    assert costs.tied is False


def test_a_table_that_is_also_multiplied_is_read_whole(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("Gemm", ["e", "table"], ["y"], transB=1),
    ]
    path = graph_of(tmp_path, nodes, table=(50, 8))
    costs = weights.costs_of_graph(path, costs_of(families.build("llama")))
    assert (costs.embedding_bytes, costs.matmul_bytes, costs.tied) == (0, 50 * 8 * 4, True)


def test_rotations_by_position_are_looked_up(tmp_path: Path) -> None:
    inputs = ["q", "k", "v", "pk", "pv", "s", "t", "cos", "sin"]
    nodes = [helper.make_node("GroupQueryAttention", inputs, ["y"], domain="com.microsoft")]
    path = graph_of(tmp_path, nodes, cos=(100, 4), sin=(100, 4))
    costs = weights.costs_of_graph(path, costs_of(families.build("llama")))
    assert costs.embedding_row_bytes == 2 * 4 * 4
    assert costs.matmul_bytes + costs.other_bytes == 0


@pytest.mark.usefixtures("shared_cache")
def test_an_exported_model_has_the_costs_of_the_model() -> None:
    backend = Onnx(Onnx.Options())
    costs = backend.costs(backend.load(open_context()))
    assert costs.matmul_bytes == 4 * (costs.matmul_parameters + costs.head_parameters)
    assert costs.embedding_bytes == costs.vocabulary * costs.embedding_row_bytes
    assert costs.tied is False
