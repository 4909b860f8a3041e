"""Products of compiled steps that are not those of the library."""

from __future__ import annotations

import pytest
import torch
from torch import _dynamo, nn

from llmbench.models.products import Product, StepLinear, can_be_packed, plain_linears, set_products


def layer(kind: Product = "generated", *, bias: bool) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(96, 40, bias=bias)
    set_products([made], {1: kind, 3: kind})
    return made


@pytest.mark.parametrize("kind", ["generated", "packed"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (1, 1, 96), (3, 96), (3, 1, 96), (2, 96)])
def test_a_compiled_layer_equals_the_library(
    shape: tuple[int, ...], kind: Product, *, bias: bool
) -> None:
    made = layer(kind, bias=bias)
    given = torch.randn(*shape)
    with torch.inference_mode():
        expected = nn.functional.linear(given, made.weight, made.bias)
        torch.testing.assert_close(torch.compile(made)(given), expected)


@pytest.mark.parametrize("kind", ["generated", "packed"])
def test_only_products_with_the_chosen_numbers_of_rows_are_others(kind: Product) -> None:
    seen: list[set[str]] = []

    def note(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        seen.append({str(node.target) for node in graph.graph.nodes})
        return graph

    _dynamo.reset()
    made = layer(kind, bias=False)
    for rows in (1, 2):
        torch.compile(made, backend=note, dynamic=False)(torch.randn(rows, 96))
    one, two = seen
    library = str(nn.functional.linear)
    assert library not in one
    assert library in two


def test_an_uncompiled_step_uses_the_library() -> None:
    made = layer(bias=True)
    given = torch.randn(1, 96)
    assert torch.equal(made(given), nn.functional.linear(given, made.weight, made.bias))


def test_only_plain_layers_are_replaced() -> None:
    class Packed(nn.Linear):
        """A layer of somebody else."""

    both = nn.Sequential(nn.Linear(2, 2), Packed(2, 2))
    set_products(plain_linears(both), {1: "generated"})
    assert [type(layer) for layer in both] == [StepLinear, Packed]


def test_packing_leaves_the_weight_as_it_is() -> None:
    plain = nn.Linear(96, 40)
    weight = plain.weight.clone()
    set_products([plain], {8: "packed"})
    assert torch.equal(plain.weight, weight)


@pytest.mark.parametrize(
    ("dtype", "packable"), [(torch.float32, True), (torch.float64, False), (torch.int8, False)]
)
def test_weights_are_packed_in_the_dtypes_that_onednn_multiplies(
    dtype: torch.dtype, *, packable: bool
) -> None:
    assert can_be_packed(torch.zeros(2, 2, dtype=dtype)) is packable
