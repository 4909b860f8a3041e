"""Linear layers whose weights are packed integers, for the CPU kernels that torch brings.

The kernels (``_weight_int8pack_mm``, ``_weight_int4pack_mm_for_cpu``) multiply floats by integers
and scale the products; gpt-fast uses the same. (torchao has none for CPUs in its wheels.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

aten = torch.ops.aten
INT8_MATMUL = aten._weight_int8pack_mm  # noqa: SLF001 (torch has no public name for it)
INT4_PACK = aten._convert_weight_to_int4pack_for_cpu  # noqa: SLF001 (the same)
INT4_MATMUL = aten._weight_int4pack_mm_for_cpu  # noqa: SLF001 (the same)
INT4_ROWS = 16  # the kernel wants outputs in multiples of this
INT4_GROUPS = (64, 32)
LEAST_SCALE = 1e-9


class _Packed(ABC, nn.Module):
    """A linear layer on packed weights."""

    packed: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, states: Tensor) -> Tensor:
        """Multiply states [..., inputs] by the weights."""
        made = self.multiplied(states.reshape(-1, states.shape[-1]))
        made = made.view(*states.shape[:-1], self.out_features)
        return made if self.bias is None else made + self.bias  # type: ignore[redundant-expr]

    @abstractmethod
    def multiplied(self, states: Tensor) -> Tensor:
        """Multiply states [rows, inputs]."""


class PackedInt8(_Packed):
    """Symmetric int8 weights, a scale for each output."""

    scales: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).div(127).clamp(min=LEAST_SCALE)
        self.register_buffer("packed", weight.div(scales[:, None]).round().to(torch.int8))
        self.register_buffer("scales", scales.to(linear.weight.dtype))

    def multiplied(self, states: Tensor) -> Tensor:
        """Multiply states [rows, inputs]."""
        made: Tensor = INT8_MATMUL(states, self.packed, self.scales)
        return made


class PackedInt4(_Packed):
    """Asymmetric int4 weights, a scale and a zero for each output of each group of inputs."""

    scales_and_zeros: Tensor

    @classmethod
    def of(cls, linear: nn.Linear) -> PackedInt4 | None:
        """Pack a layer, or give None for sizes that the kernel does not take."""
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
        zeros = least + 8 * scales  # the value that the kernel's integers, -8 to 7, stand around
        both = torch.stack([scales.T, zeros.T], dim=-1)
        packed = INT4_PACK(ints, 2)
        self.register_buffer("packed", packed)
        self.register_buffer("scales_and_zeros", both.to(linear.weight.dtype).contiguous())

    def multiplied(self, states: Tensor) -> Tensor:
        """Multiply states [rows, inputs]."""
        made: Tensor = INT4_MATMUL(states, self.packed, self.group, self.scales_and_zeros)
        return made
