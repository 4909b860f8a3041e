"""Products with a single row that the compiler writes, where the BLAS library is slow at them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class GeneratedMatvec(nn.Linear):
    """A linear layer whose product with one row is, in a compiled step, a sum that is generated.

    A step of one sequence reads each weight once, so its products are bound by memory; libraries
    made for large products may use half of the bandwidth. Everything else goes to the library.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Multiply ``input`` [..., in_features] into [..., out_features]."""
        if input.numel() != self.in_features or not torch.compiler.is_compiling():
            return super().forward(input)
        product = (input.reshape(-1) * self.weight).sum(-1)
        bias = cast("Tensor | None", self.bias)  # torch says that there always is one
        shifted = product if bias is None else product + bias
        return shifted.reshape(*input.shape[:-1], self.out_features)


def generate_matvecs(module: nn.Module) -> None:
    """Turn the linear layers of a module into GeneratedMatvec, weights and all.

    Layers that hold packed weights, by a class or by a tensor of their own, stay as they are.
    """
    for each in module.modules():
        if type(each) is nn.Linear and type(each.weight.data) is Tensor:
            each.__class__ = GeneratedMatvec
