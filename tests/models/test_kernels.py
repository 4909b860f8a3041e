"""Products with few rows that the compiler generates."""

from __future__ import annotations

import pytest
import torch
from torch import _dynamo, nn

from llmbench.models.kernels import GeneratedLinear, generate_products, plain_linears


def layer(*, bias: bool) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(96, 40, bias=bias)
    generate_products([made], (1, 3))
    return made


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (1, 1, 96), (3, 96), (3, 1, 96), (2, 96)])
def test_a_compiled_layer_equals_the_library(shape: tuple[int, ...], *, bias: bool) -> None:
    made = layer(bias=bias)
    given = torch.randn(*shape)
    with torch.inference_mode():
        expected = nn.functional.linear(given, made.weight, made.bias)
        torch.testing.assert_close(torch.compile(made)(given), expected)


def test_only_products_with_the_chosen_numbers_of_rows_are_generated() -> None:
    seen: list[set[str]] = []

    def note(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        seen.append({str(node.target) for node in graph.graph.nodes})
        return graph

    _dynamo.reset()
    made = layer(bias=False)
    for rows in (1, 2):
        torch.compile(made, backend=note, dynamic=False)(torch.randn(rows, 96))
    one, two = seen
    assert not any("linear" in target for target in one)
    assert any("linear" in target for target in two)


def test_an_uncompiled_step_uses_the_library() -> None:
    made = layer(bias=True)
    given = torch.randn(1, 96)
    assert torch.equal(made(given), nn.functional.linear(given, made.weight, made.bias))


def test_only_plain_layers_are_replaced() -> None:
    class Packed(nn.Linear):
        """A layer of somebody else."""

    both = nn.Sequential(nn.Linear(2, 2), Packed(2, 2))
    generate_products(plain_linears(both), (1,))
    assert [type(layer) for layer in both] == [GeneratedLinear, Packed]
