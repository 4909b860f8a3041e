"""Graphs of onnxruntime-genai's model builder, adapted to the inputs that the runner binds.

The builder supports selected architectures and fuses more operators than an export. Its graphs
compute lengths from a mask and return the logits of every token; an adapted graph takes lengths as
inputs and returns only the last logits. (https://github.com/microsoft/onnxruntime-genai)
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from transformers import AutoTokenizer, PreTrainedModel

from llmbench import models
from llmbench.backends.onnx.exporting import INPUTS, LOGITS, cache_names
from llmbench.errors import InputError

RECIPE = "onnxruntime-genai builder 2"
ATTENTION = "GroupQueryAttention"
PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
PAST, LENGTHS = slice(3, 5), slice(5, 7)  # inputs of the operator
HEADS = {"MatMul", "MatMulNBits"}


def recipe(provider: str) -> dict[str, Any]:
    """Return the cache-key components besides the model: recipe, provider and builder version."""
    return {"recipe": RECIPE, "provider": provider, "builder": version("onnxruntime-genai")}


def build(model: PreTrainedModel, provider: str, path: Path) -> None:
    """Write a model's graph to ``path``, with its weights next to it.

    Inputs and outputs are those of `exporting.export`. Raises InputError when the builder does not
    support the architecture.
    """
    with TemporaryDirectory(prefix="llmbench-") as folder:
        run_builder(model, provider, Path(folder))
        graph = onnx.load(Path(folder) / "model.onnx")
    adapt(graph)
    onnx.save(graph, path, save_as_external_data=True, location=f"{path.name}.data")


def run_builder(model: PreTrainedModel, provider: str, folder: Path) -> None:
    """Write a model's graph into ``folder`` with the model builder's command-line interface."""
    source = folder / "source"
    model.save_pretrained(source)
    # the builder copies a tokenizer, which models with random weights lack
    AutoTokenizer.from_pretrained(models.HELD_OUT.parent).save_pretrained(source)
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "onnxruntime_genai.models.builder"),
            *("-i", source, "-o", folder, "-c", folder / "cache"),
            *("-p", PRECISIONS[model.dtype], "-e", provider),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise InputError(
            f"model: the builder of onnxruntime-genai failed for {type(model).__name__} with "
            f"{provider} ({' '.join(reason)}); use `graph: export`"
        )


def adapt(model: onnx.ModelProto) -> None:
    """Change a built graph in place, so that it has the inputs and outputs of an exported one.

    Raises InputError when the graph has no GroupQueryAttention, as for some providers.
    """
    graph = model.graph
    attentions = [node for node in graph.node if node.op_type == ATTENTION]
    if not attentions:
        raise InputError(f"model: the builder's graph has no {ATTENTION}; use `graph: export`")
    past, present = (cache_names(prefix, len(attentions)) for prefix in ("past", "present"))
    old = {inner.name: inner for inner in graph.input}
    caches = []
    for layer, node in enumerate(attentions):
        for position, name in enumerate(past[2 * layer : 2 * layer + 2], start=PAST.start):
            kind = old[node.input[position]].type
            caches.append(helper.make_value_info(name, kind))
            node.input[position] = name
        node.input[LENGTHS.start : LENGTHS.stop] = INPUTS[2:4]
    _keep_last(graph)
    _drop_unused(graph, [LOGITS, *present])
    _replace(graph.input, [*_inputs(), *caches])
    outputs = {out.name: out for out in graph.output}
    kind = outputs[LOGITS].type.tensor_type
    vocabulary = kind.shape.dim[2].dim_value
    logits = helper.make_tensor_value_info(LOGITS, kind.elem_type, ["rows", vocabulary])
    _replace(graph.output, [logits, *(outputs[name] for name in present)])


def _inputs() -> list[Any]:
    """Return the declarations of a graph's inputs, apart from the caches."""
    long, integer = TensorProto.INT64, TensorProto.INT32
    kinds = (long, long, integer, integer, long)
    shapes: list[list[Any]] = [["rows", "length"], ["rows", "length"], ["rows"], [], ["rows"]]
    return [*map(helper.make_tensor_value_info, INPUTS, kinds, shapes)]


def _keep_last(graph: Any) -> None:
    """Change the graph to return the logits of each row's last position only."""
    head = next(node for node in graph.node if LOGITS in node.output)
    graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [1], [1]))
    index = helper.make_node("Unsqueeze", [INPUTS[4], "axis"], ["last.index"])
    if head.op_type in HEADS:
        new = [_selected(head.input[0], "last.state"), head]
        head.input[0] = "last.state"
    else:
        head.output[0] = "logits.all"
        new = [head, _selected("logits.all", LOGITS)]
    others = [node for node in graph.node if node is not head]
    _replace(graph.node, [*others, index, *new])


def _selected(states: str, selected: str) -> Any:
    """Return a node that selects one position of each row from states [rows, length, size]."""
    return helper.make_node("GatherND", [states, "last.index"], [selected], batch_dims=1)


def _drop_unused(graph: Any, wanted: Iterable[str]) -> None:
    """Remove nodes that no output in ``wanted`` depends on; expects topological order."""
    needed, kept = set(wanted), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    _replace(graph.node, reversed(kept))


def _replace(field: Any, new: Iterable[Any]) -> None:
    """Replace the contents of a repeated protobuf field with copies of ``new``."""
    copies = deepcopy(list(new))
    del field[:]
    field.extend(copies)
