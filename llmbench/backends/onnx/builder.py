"""Graphs of onnxruntime-genai's model builder, brought to the inputs that the runner binds.

The builder knows a list of architectures and fuses more of them than an export does. Its graphs
work out lengths from a mask and give the logits of every token; here lengths come in as they are
and only the wanted logits go out. (https://github.com/microsoft/onnxruntime-genai)
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from transformers import AutoTokenizer, PreTrainedModel

from llmbench import models
from llmbench.backends.onnx.exporting import INPUTS, LOGITS, past_names, present_names
from llmbench.errors import InputError

RECIPE = "onnxruntime-genai builder 1"
ATTENTION = "GroupQueryAttention"
PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
PAST, LENGTHS = slice(3, 5), slice(5, 7)  # inputs of the operator
HEADS = {"MatMul", "MatMulNBits"}
KEPT = "logits.kept"


def recipe(provider: str) -> dict[str, Any]:
    """Name what shapes a graph besides the model, so that a kept one is used only for the same."""
    return {"recipe": RECIPE, "provider": provider, "builder": version("onnxruntime-genai")}


def build(model: PreTrainedModel, provider: str, path: Path) -> None:
    """Write a model's graph to ``path`` and its weights beside it (inputs: exporting.export).

    Raises InputError when the builder does not know the architecture.
    """
    with TemporaryDirectory(prefix="llmbench-") as folder:
        built(model, provider, Path(folder))
        graph = onnx.load(Path(folder) / "model.onnx")
    adapt(graph)
    onnx.save(graph, path, save_as_external_data=True, location=f"{path.name}.data")


def built(model: PreTrainedModel, provider: str, folder: Path) -> None:
    """Run the builder in a process of its own, as its makers mean it to be run."""
    source = folder / "source"
    model.save_pretrained(source)
    # it wants a tokenizer to copy, which a model of random weights does not have
    AutoTokenizer.from_pretrained(models.HELD_OUT.parent).save_pretrained(source)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "onnxruntime_genai.models.builder"),
            *("-i", source, "-o", folder, "-c", folder / "cache"),
            *("-p", PRECISIONS[model.dtype], "-e", provider),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise InputError(
            f"model: the builder of onnxruntime-genai has no graph for {type(model).__name__} with "
            f"{provider} ({' '.join(why)}); use `graph: export`"
        )


def adapt(model: onnx.ModelProto) -> None:
    """Give a built graph the inputs and outputs of an exported one, in place.

    Raises InputError when it has no GroupQueryAttention, as the builder makes for some providers.
    """
    graph = model.graph
    attentions = [node for node in graph.node if node.op_type == ATTENTION]
    if not attentions:
        raise InputError(f"model: the builder's graph has no {ATTENTION}; use `graph: export`")
    names = past_names(len(attentions))
    old = {inner.name: inner for inner in graph.input}
    caches = []
    for layer, node in enumerate(attentions):
        for place, name in enumerate(names[2 * layer : 2 * layer + 2], start=PAST.start):
            kind = old[node.input[place]].type
            caches.append(helper.make_value_info(name, kind))
            node.input[place] = name
        node.input[LENGTHS.start : LENGTHS.stop] = INPUTS[2:4]
    _keep_last(graph)
    _drop_unused(graph, [LOGITS, *present_names(len(attentions))])
    _replace(graph.input, [*_given(), *caches])
    outputs = {out.name: out for out in graph.output}
    kind = outputs[LOGITS].type.tensor_type
    vocabulary = kind.shape.dim[2].dim_value
    logits = helper.make_tensor_value_info(LOGITS, kind.elem_type, ["rows", vocabulary])
    states = [outputs[name] for name in present_names(len(attentions))]
    _replace(graph.output, [logits, *states])


def _given() -> list[Any]:
    """Tell what comes into a graph besides the caches."""
    tokens, rows = ["rows", "length"], ["rows"]
    longs: dict[str, list[Any]] = {"input_ids": tokens, "position_ids": tokens, "last": [1]}
    ints: dict[str, list[str]] = {"seqlens_k": rows, "total_sequence_length": []}
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64, longs[name])
        if name in longs
        else helper.make_tensor_value_info(name, TensorProto.INT32, ints[name])
        for name in INPUTS
    ]


def _keep_last(graph: Any) -> None:
    """Let the head work on the wanted position alone."""
    head = next(node for node in graph.node if LOGITS in node.output)
    axes = helper.make_tensor("squeezed", TensorProto.INT64, [1], [1])
    graph.initializer.append(axes)
    if head.op_type in HEADS:
        last = helper.make_node("Gather", [head.input[0], INPUTS[4]], ["last.state"], axis=1)
        head.input[0] = "last.state"
        head.output[0] = KEPT
        new = [last, head]
    else:
        head.output[0] = "logits.all"
        new = [head, helper.make_node("Gather", ["logits.all", INPUTS[4]], [KEPT], axis=1)]
    squeeze = helper.make_node("Squeeze", [KEPT, "squeezed"], [LOGITS])
    others = [node for node in graph.node if node is not head]
    _replace(graph.node, [*others, *new, squeeze])


def _drop_unused(graph: Any, wanted: Iterable[str]) -> None:
    """Leave out nodes that nothing wanted depends on; nodes stand in order of computation."""
    needed, kept = set(wanted), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    _replace(graph.node, reversed(kept))


def _replace(field: Any, new: Iterable[Any]) -> None:
    """Put new messages in the place of a repeated field's."""
    copies = []
    for message in new:
        copy = type(message)()
        copy.CopyFrom(message)
        copies.append(copy)
    del field[:]
    field.extend(copies)
