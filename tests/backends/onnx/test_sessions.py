"""A session runs on the requested provider, or opening it fails."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from llmbench.backends.onnx import sessions
from llmbench.errors import InputError

CPU = "CPUExecutionProvider"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph of one Identity node."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "same", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "same.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", ["cpu", "CPU"])
def test_a_provider_has_a_short_name(name: str) -> None:
    assert sessions.chosen_provider(name) == CPU
    assert sessions.short_name(CPU) == "cpu"


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    assert sessions.chosen_provider("auto") == CPU
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    assert sessions.chosen_provider("auto") == "CUDAExecutionProvider"


def test_a_provider_that_is_not_installed_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"'tensorrt' is not in the installed onnxruntime .* cpu"):
        sessions.chosen_provider("tensorrt")


def test_cuda_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CPU])
    with pytest.raises(InputError, match=r"pip install 'llmbench\[onnx-gpu\]'"):
        sessions.chosen_provider("cuda")


def test_a_fallback_to_another_provider_is_an_error(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ort.InferenceSession(graph, providers=[CPU])
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: opened)
    monkeypatch.setattr(sessions, "ON_GPU", set())
    with pytest.raises(InputError, match="fell back to CPUExecutionProvider"):
        sessions.open_session(graph, "CUDAExecutionProvider", "all")


def test_a_graph_that_the_provider_cannot_run_is_refused(graph: Path) -> None:
    model = onnx.load(graph)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, graph)
    with pytest.raises(InputError, match=r"cpu cannot run this model's graph \(.*NoSuchOperator"):
        sessions.open_session(graph, CPU, "all")


def test_inputs_that_a_kernel_rejects_are_refused(graph: Path) -> None:
    session = sessions.open_session(graph, CPU, "all")
    with pytest.raises(
        InputError, match=r"cpu cannot run .* \(Error in execution: .*\); use `eager`"
    ):
        sessions.run(session, session.io_binding())


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
def test_a_session_opens_at_each_level(graph: Path, level: str) -> None:
    session = sessions.open_session(graph, CPU, level)
    assert session.get_session_options().graph_optimization_level == sessions.LEVELS[level]


def test_a_session_has_as_many_threads_as_torch(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    session = sessions.open_session(graph, CPU, "all")
    assert session.get_session_options().intra_op_num_threads == 3


@pytest.mark.parametrize(("policy", "spinning"), [("PASSIVE", "0"), ("ACTIVE", "1")])
def test_idle_threads_of_a_session_wait_as_those_of_openmp(
    graph: Path, monkeypatch: pytest.MonkeyPatch, policy: str, spinning: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    options = sessions.open_session(graph, CPU, "all").get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == spinning
