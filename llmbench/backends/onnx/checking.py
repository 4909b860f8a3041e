"""What sessions of graphs are compared with, in the self-check.

A graph of the model as loaded is compared with the forward of the torch module. A quantized graph
is compared with itself: steps over the cache with whole sequences as one prompt. The graph from
which it was made is compared with the torch module before it is quantized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmbench.backends.onnx.runner import OnnxRunner
from llmbench.engine import own_forward, self_check
from llmbench.engine.check_requests import Capacity
from llmbench.engine.own_forward import Reference
from llmbench.engine.sampling import Greedy
from llmbench.models.compress import Scheme
from llmbench.models.loading import TorchModel

if TYPE_CHECKING:
    from llmbench.backends.onnx.loading import OnnxModel

SLOTS = 2  # of a check without a load
TF32 = 2**-10  # onnxruntime's CUDA provider multiplies float32 in this format
INTEGERS = 2**-7  # packed products quantize activations to 8 bits
PER_TENSOR = {"int8-dynamic": 2**-2}  # one scale for all rows and tokens of a step


def reference_of(model: TorchModel, device: torch.device) -> Reference:
    """Return the forward of the torch module, for a comparison with a graph on ``device``."""
    epsilon = TF32 if device.type == "cuda" else 0.0
    return own_forward.reference_of(model.module, model.effective["parameters"], epsilon=epsilon)


def reference_of_quantized(reference: Reference, runner: OnnxRunner, scheme: Scheme) -> Reference:
    """Return the reference of a quantized graph: the graph itself, with whole sequences."""

    def forward(ids: Sequence[int], count: int) -> Tensor:
        del count  # a graph returns the last logits only
        return runner.prompt_logits(ids)

    epsilon = max(reference.epsilon, PER_TENSOR.get(scheme, INTEGERS))
    return replace(reference, forward=forward, disturbed=None, epsilon=epsilon)


@torch.inference_mode()
def check_export(model: OnnxModel, longest: int) -> None:
    """Compare a graph with its model on sequences of up to ``longest`` tokens.

    Raise InputError if they differ.
    """
    assert model.reference is not None  # noqa: S101 (checks are on)
    runner = OnnxRunner(model, Greedy(), slots=SLOTS, max_length=longest)
    capacity = Capacity(SLOTS, range(1, longest + 1), longest)
    self_check.check(runner, model.reference, capacity)
