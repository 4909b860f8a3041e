"""Layers that replace a model's linear layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llmbench.models.compress.linears import PADDED_ROWS, PaddedLinear


@pytest.mark.parametrize("rows", [1, 16, PADDED_ROWS, PADDED_ROWS + 1])
@pytest.mark.parametrize("bias", [True, False])
def test_a_padded_layer_has_the_outputs_of_the_layer_itself(rows: int, *, bias: bool) -> None:
    layer, states = nn.Linear(6, 4, bias=bias), torch.randn(rows, 1, 6)
    expected = layer(states)
    layer.__class__ = PaddedLinear
    torch.testing.assert_close(layer(states), expected)


def test_a_padded_layers_product_has_at_least_that_many_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    own = nn.Linear.forward

    def forward(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
        seen.append(len(states))
        return own(layer, states)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    PaddedLinear(6, 4)(torch.randn(3, 6))
    assert seen == [PADDED_ROWS]
