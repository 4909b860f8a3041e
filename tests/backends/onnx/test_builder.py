"""Graphs of onnxruntime-genai's builder behind the same runner."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import onnx
import pytest
from families import build
from greedy import (
    answers,
    answers_around_a_batch,
    expected,
    expected_around_a_batch,
    ragged_requests,
)
from onnx import TensorProto, helper
from runners import runner_of

from llmbench.backends.onnx import Onnx, builder, loading
from llmbench.errors import InputError, MissingExtraError
from llmbench.testing import open_context


@pytest.mark.slow
def test_greedy_tokens_equal_generate_while_requests_join_and_leave(tmp_path: Path) -> None:
    llama = build("llama")
    graph = tmp_path / "model.onnx"
    builder.build(llama, "cpu", graph)
    for batching in ("continuous", "static"):
        assert answers(runner_of(llama, graph), ragged_requests(), batching) == expected("llama")
    answered = answers_around_a_batch(runner_of(llama, graph), ragged_requests())
    assert answered == expected_around_a_batch("llama")


@pytest.mark.slow
def test_an_architecture_that_the_builder_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"failed for GPT2LMHeadModel with cpu .*graph: export"):
        builder.build(build("gpt2"), "cpu", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_without_the_operator_is_refused() -> None:
    empty = helper.make_graph([], "g", [], [])
    with pytest.raises(InputError, match="has no GroupQueryAttention"):
        builder.adapt(helper.make_model(empty))


def test_another_kind_of_head_is_unchanged_and_its_last_logits_are_gathered() -> None:
    def info(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    past = ["past_key_values.0.key", "past_key_values.0.value"]
    present = ["present.0.key", "present.0.value"]
    attention = helper.make_node(
        "GroupQueryAttention",
        ["state", "", "", *past, "lengths", "total"],
        ["attended", *present],
        domain="com.microsoft",
    )
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["attention_mask"], ["lengths"]),
            attention,
            helper.make_node("Tanh", ["attended"], ["logits"]),
        ],
        "g",
        [info("attention_mask", ["b", "t"]), *(info(name, ["b", 1, "p", 4]) for name in past)],
        [info("logits", ["b", "s", 9]), *(info(name, ["b", 1, "t", 4]) for name in present)],
    )
    model = helper.make_model(graph)
    builder.adapt(model)
    assert [node.op_type for node in model.graph.node] == [
        "GroupQueryAttention", "Unsqueeze", "Tanh", "GatherND",
    ]  # fmt: skip
    assert [given.name for given in model.graph.input][-2:] == ["past.0.key", "past.0.value"]
    assert [out.name for out in model.graph.output] == ["logits", *present]


def test_without_the_builder_the_error_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> object:
        return None if name == "onnxruntime_genai" else util.find_spec(name)

    monkeypatch.setattr(loading, "find_spec", find_spec)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmbench\[onnx-builder\]'"):
        Onnx(Onnx.Options(graph="builder")).load(open_context())
