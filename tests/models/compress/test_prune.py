"""Pruned weights and layers, and that the pruned model works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import build
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from llmbench import models
from llmbench.errors import InputError
from llmbench.models.compress import Recipe, pruned
from llmbench.models.compress.linears import inner_linears, unify
from llmbench.models.compress.prune import drop_layers, influences, keep_two_of_four, zero_least
from llmbench.models.compress.recipe import DropLayers, Magnitude, TwoFour
from llmbench.scenario.schema import ModelOptions

TINY = ModelOptions(source="builtin:tiny")
IDS = torch.arange(12)[None]


@torch.inference_mode()
def logits(model: PreTrainedModel) -> torch.Tensor:
    answer: torch.Tensor = model(IDS).logits
    return answer


def test_transposed_layers_become_linear_ones_with_equal_outputs() -> None:
    gpt2 = build("gpt2")
    before = logits(gpt2)
    unify(gpt2)
    assert len(list(inner_linears(gpt2))) == 8
    torch.testing.assert_close(logits(gpt2), before)


@given(ratio=st.floats(0.05, 0.95))
def test_magnitude_zeroes_the_smallest_share_of_each_inner_layer(ratio: float) -> None:
    model = build("llama")
    before = [linear.weight.detach().clone() for linear in inner_linears(model)]
    head = model.get_output_embeddings().weight.detach().clone()
    with torch.no_grad():
        zero_least(model, ratio)
    for weight, linear in zip(before, inner_linears(model), strict=True):
        gone = linear.weight == 0
        assert int(gone.sum()) == round(ratio * weight.numel())
        assert weight[gone].abs().max() <= weight[~gone].abs().min()
        assert torch.equal(linear.weight[~gone], weight[~gone])
    assert torch.equal(model.get_output_embeddings().weight, head)


def test_two_four_keeps_the_two_largest_of_every_four_inputs() -> None:
    model = build("llama")
    before = [linear.weight.detach().clone() for linear in inner_linears(model)]
    with torch.no_grad():
        keep_two_of_four(model)
    for weight, linear in zip(before, inner_linears(model), strict=True):
        fours = weight.view(-1, 4)
        least_kept = fours.abs().sort(dim=-1).values[:, 2:3]
        expected = torch.where(fours.abs() >= least_kept, fours, 0.0)
        assert torch.equal(linear.weight, expected.view_as(weight))


def test_a_model_without_the_dropped_layers_works(model: PreTrainedModel) -> None:
    count = model.config.num_hidden_layers
    drop_layers(model, [0])
    assert model.config.num_hidden_layers == count - 1
    fresh = type(model)(model.config).eval()
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits(model), logits(fresh))


def test_a_layer_that_changes_nothing_has_the_least_influence_and_is_dropped_first() -> None:
    model = models.load_model(TINY)
    idle = model.module.model.layers[4]
    with torch.no_grad():
        idle.self_attn.o_proj.weight.zero_()
        idle.mlp.down_proj.weight.zero_()
        assert influences(model.module, TINY)[4] == pytest.approx(0, abs=1e-6)
    dropped = pruned(model, TINY, DropLayers(kind="layers", ratio=0.125))
    assert (dropped.effective["prune"], dropped.effective["pruned"]) == (
        "layers 0.125",
        "without 4",
    )


def test_the_bytes_of_a_pruned_model_are_those_it_holds() -> None:
    whole = models.load_model(TINY).weight_bytes
    layer = sum(
        p.numel() * p.element_size()
        for p in models.load_model(TINY).module.model.layers[0].parameters()
    )
    fewer = pruned(models.load_model(TINY), TINY, DropLayers(kind="layers", layers=(1, 2)))
    zeroed = pruned(models.load_model(TINY), TINY, Magnitude(kind="magnitude", ratio=0.5))
    assert fewer.weight_bytes == whole - 2 * layer
    assert zeroed.weight_bytes == whole


def test_zeros_that_save_nothing_are_a_caveat() -> None:
    zeroed = pruned(models.load_model(TINY), TINY, TwoFour(kind="two-four"))
    assert [caveat.kind for caveat in zeroed.caveats] == ["pruned-dense"]
    assert (zeroed.effective["prune"], zeroed.effective["pruned"]) == ("two-four", "dense kernels")
    fewer = pruned(models.load_model(TINY), TINY, DropLayers(kind="layers", layers=(1,)))
    assert fewer.caveats == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (6,)}, "cannot drop layer 6; this model has layers 0 to 5"),
        ({"layers": tuple(range(6))}, "leave at least one"),
        ({"ratio": 0.01}, "of 6 layers rounds to 0 layers; choose another ratio"),
        ({"ratio": 0.99}, "of 6 layers rounds to 6 layers; choose another ratio"),
    ],
)
def test_layers_that_cannot_be_dropped_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pruned(models.load_model(TINY), TINY, DropLayers(kind="layers", **options))


@pytest.mark.parametrize("options", [{}, {"ratio": 0.5, "layers": [1]}])
def test_layers_are_given_by_ratio_or_by_number(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="either `ratio` or `layers`"):
        Recipe.model_validate({"prune": {"kind": "layers", **options}})
