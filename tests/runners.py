"""Runners over graphs, for small models."""

from __future__ import annotations

from pathlib import Path

import torch
from greedy import MAX_LENGTH, SLOTS
from transformers import PreTrainedModel

from llmbench.backends.onnx import exporting, sessions
from llmbench.backends.onnx.loading import OnnxModel
from llmbench.backends.onnx.runner import OnnxRunner
from llmbench.engine.sampling import Greedy


def runner_of(model: PreTrainedModel, graph: Path) -> OnnxRunner:
    """Open a graph of a model on the CPU."""
    return OnnxRunner(
        OnnxModel(
            graph=graph,
            session=sessions.open_session(graph, "CPUExecutionProvider", "all"),
            cache_shapes=exporting.cache_shapes(model),
            dtype=model.dtype,
            context_length=MAX_LENGTH,
            eos_ids=frozenset(),
            vocabulary=model.config.vocab_size,
            device=torch.device("cpu"),
            weight_bytes=0,
            requested={},
            effective={},
        ),
        Greedy(),
        slots=SLOTS,
        max_length=MAX_LENGTH,
    )
