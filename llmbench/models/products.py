"""Matrix products of decode steps: of the library, of the compiler, or of packed weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Literal, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

Product = Literal["library", "generated", "packed"]

MAX_GENERATED_ROWS = 16  # more would not fit into registers


def row_products(rows: Tensor, weight: Tensor) -> Tensor:
    """Return ``rows @ weight.T``, written so that the compiler generates one loop over the weight.

    The loop reads each weight once for all rows, with one sum per row. A single row has several
    partial sums, since one alone would wait for its own last addition.
    """
    sums = [(rows[row] * weight).sum(-1) for row in range(len(rows))]
    return torch.stack(sums)


# compiled once for each shape instead of once for each layer
generated_product = torch.compiler.nested_compile_region(row_products)


def packed_weight(weight: Tensor, rows: int) -> Tensor:
    """Return a copy of a weight in the order in which oneDNN reads it for this many rows."""
    reorder = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001 (it has no public name)
    packed: Tensor = reorder(weight.detach(), rows)
    return packed


def packed_product(rows: Tensor, packed: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``rows @ weight.T + bias`` for a weight that ``packed_weight`` returned."""
    linear = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 (the same)
    product: Tensor = linear(rows, packed, bias, "none", [], "")
    return product


# The compiler cannot take packed weights as inputs of a graph: graphs have the layers' numbers.
torch.library.define("llmbench::packed_linear", "(Tensor rows, int layer, int size) -> Tensor")
_packed_layers: WeakValueDictionary[int, StepLinear] = WeakValueDictionary()
_numbers = count()


@torch.library.impl("llmbench::packed_linear", "cpu")
def _packed_linear(rows: Tensor, layer: int, size: int) -> Tensor:  # noqa: ARG001 (as declared)
    of = _packed_layers[layer]
    return packed_product(rows, of.packed, of.bias)


@torch.library.register_fake("llmbench::packed_linear")  # type: ignore[untyped-decorator]
def _shape_of_packed_linear(rows: Tensor, layer: int, size: int) -> Tensor:  # noqa: ARG001 (the same)
    return rows.new_empty((*rows.shape[:-1], size))


class StepLinear(nn.Linear):
    """A linear layer whose products in compiled decode steps may be others than the library's.

    A decode step of few sequences reads each weight once, so memory bandwidth limits its speed;
    library kernels, tuned for large products of weights in any order, may reach only half of it.
    ``products`` are the kinds by number of rows; all other products are the library's.
    """

    products: Mapping[int, Product]
    packed: Tensor
    number: int

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Return the layer's output [..., out_features] for ``input`` [..., in_features]."""
        rows = input.numel() // self.in_features
        kind = self.products.get(rows, "library") if torch.compiler.is_compiling() else "library"
        if kind == "library":
            return super().forward(input)
        flat = input.reshape(rows, self.in_features)
        if kind == "packed":
            product = torch.ops.llmbench.packed_linear(flat, self.number, self.out_features)
        else:
            product = self._generated(flat)
        shaped: Tensor = product.reshape(*input.shape[:-1], self.out_features)
        return shaped

    def _generated(self, rows: Tensor) -> Tensor:
        product_of = generated_product if rows.device.type == "cpu" else row_products
        product = product_of(rows, self.weight)
        bias = cast("Tensor | None", self.bias)  # torch types it as always present
        return product if bias is None else product + bias


def most_generated_rows(device: torch.device) -> int:
    """Return the largest number of rows for which products can be generated on a device."""
    return MAX_GENERATED_ROWS if device.type == "cpu" else 1


def can_be_packed(weight: Tensor) -> bool:
    """Return whether oneDNN has products of packed weights for this device and dtype."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 (the same)
    return weight.dtype == torch.float32


def plain_linears(module: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of a module, without those whose weights are compressed.

    Those are of another layer or tensor class.
    """
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
        and type(layer) in {nn.Linear, StepLinear}
        and type(layer.weight.data) is Tensor
    ]


def set_products(layers: Iterable[nn.Linear], products: Mapping[int, Product]) -> None:
    """Convert linear layers to StepLinear in place, with these products by number of rows.

    Packing adds a copy of the weights; those of the other products stay as they are.
    """
    packed_rows = [rows for rows, kind in products.items() if kind == "packed"]
    for plain in layers:
        plain.__class__ = StepLinear
        layer = cast("StepLinear", plain)
        layer.products = products
        if packed_rows:
            layer.packed = packed_weight(layer.weight, max(packed_rows))
            layer.number = next(_numbers)
            _packed_layers[layer.number] = layer
