"""Find and replace the linear layers of a model, and layers with packed integer weights.

The CPU kernels of torch (``_weight_int8pack_mm``, ``_weight_int4pack_mm_for_cpu``) multiply floats
by integers and scale the products; gpt-fast uses the same kernels. (torchao's wheels have no CPU
kernels.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

aten = torch.ops.aten
INT8_MATMUL = aten._weight_int8pack_mm  # noqa: SLF001 (torch has no public name for it)
INT4_PACK = aten._convert_weight_to_int4pack_for_cpu  # noqa: SLF001 (the same)
INT4_MATMUL = aten._weight_int4pack_mm_for_cpu  # noqa: SLF001 (the same)
INT4_ROWS = 16  # the number of outputs must be a multiple of this
INT4_GROUPS = (64, 32)
LEAST_SCALE = 1e-9
PADDED_ROWS = 32


def unify(model: PreTrainedModel) -> None:
    """Convert GPT-2's transposed layers (Conv1D) to linear layers."""
    for name, inner in list(model.named_modules()):
        if isinstance(inner, Conv1D):
            model.set_submodule(name, _as_linear(inner))


def _as_linear(conv: Conv1D) -> nn.Linear:
    inputs, outputs = conv.weight.shape
    linear = nn.Linear(inputs, outputs, bias=False, device="meta")
    linear.weight = nn.Parameter(conv.weight.detach().T.contiguous(), requires_grad=False)
    linear.bias = conv.bias
    return linear


def inner_linears(model: PreTrainedModel) -> Iterator[nn.Linear]:
    """Return a model's linear layers, except the output head."""
    head = model.get_output_embeddings()
    return (m for m in model.modules() if isinstance(m, nn.Linear) and m is not head)


def replace_linears(
    model: PreTrainedModel, make: Callable[[nn.Linear], nn.Module | None]
) -> tuple[int, int]:
    """Replace each linear layer, the head included, with ``make(layer)`` unless that is None.

    Return the number of replaced and of all linear layers.
    """
    linears = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    replaced = [(name, new) for name, linear in linears if (new := make(linear)) is not None]
    for name, new in replaced:
        model.set_submodule(name, new)
    return len(replaced), len(linears)


class PaddedLinear(nn.Linear):
    """A linear layer that pads few rows: CUDA's product of int8 matrices needs more than 16."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Return the layer's output [..., out_features] for ``input`` [..., in_features]."""
        rows = input.numel() // self.in_features
        if rows >= PADDED_ROWS:
            return super().forward(input)
        flat = input.reshape(rows, self.in_features)
        product = super().forward(nn.functional.pad(flat, (0, 0, 0, PADDED_ROWS - rows)))
        return product[:rows].reshape(*input.shape[:-1], self.out_features)


def pad_rows(model: PreTrainedModel) -> None:
    """Convert a model's linear layers to PaddedLinear in place."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = PaddedLinear


class _Packed(ABC, nn.Module):
    """A linear layer with packed weights."""

    packed: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, states: Tensor) -> Tensor:
        """Return the layer's output [..., outputs] for states [..., inputs]."""
        product = self.product(states.reshape(-1, states.shape[-1]))
        product = product.view(*states.shape[:-1], self.out_features)
        return product if self.bias is None else product + self.bias  # type: ignore[redundant-expr]

    @abstractmethod
    def product(self, states: Tensor) -> Tensor:
        """Return the product [rows, outputs] of states [rows, inputs] and the packed weights."""


class PackedInt8(_Packed):
    """A linear layer with symmetric int8 weights, one scale per output."""

    scales: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).div(127).clamp(min=LEAST_SCALE)
        self.register_buffer("packed", weight.div(scales[:, None]).round().to(torch.int8))
        self.register_buffer("scales", scales.to(linear.weight.dtype))

    def product(self, states: Tensor) -> Tensor:
        """Return the product [rows, outputs] of states [rows, inputs] and the packed weights."""
        product: Tensor = INT8_MATMUL(states, self.packed, self.scales)
        return product


class PackedInt4(_Packed):
    """A linear layer with asymmetric int4 weights: a scale and zero point per output and group."""

    scales_and_zeros: Tensor

    @classmethod
    def of(cls, linear: nn.Linear) -> PackedInt4 | None:
        """Return the layer with packed weights, or None if the kernel does not support its size."""
        groups = [size for size in INT4_GROUPS if linear.in_features % size == 0]
        if not groups or linear.out_features % INT4_ROWS:
            return None
        return cls(linear, groups[0])

    def __init__(self, linear: nn.Linear, group: int) -> None:
        super().__init__(linear)
        self.group = group
        weight = linear.weight.detach().float().unflatten(1, (-1, group))
        least = weight.amin(dim=-1)
        scales = (weight.amax(dim=-1) - least).div(15).clamp(min=LEAST_SCALE)
        steps = (weight - least[..., None]).div(scales[..., None]).round().clamp(0, 15)
        ints = steps.flatten(1).to(torch.int32)
        zeros = least + 8 * scales  # the value that 0 represents; the kernel's integers are -8 to 7
        both = torch.stack([scales.T, zeros.T], dim=-1)
        packed = INT4_PACK(ints, 2)
        self.register_buffer("packed", packed)
        self.register_buffer("scales_and_zeros", both.to(linear.weight.dtype).contiguous())

    def product(self, states: Tensor) -> Tensor:
        """Return the product [rows, outputs] of states [rows, inputs] and the packed weights."""
        product: Tensor = INT4_MATMUL(states, self.packed, self.group, self.scales_and_zeros)
        return product
