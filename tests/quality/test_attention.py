"""Attention maps and their divergence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbench import models
from llmbench.errors import InputError
from llmbench.models.compress import pruned
from llmbench.models.compress.recipe import DropLayers
from llmbench.models.loading import TorchModel
from llmbench.quality.attention import MAX_MAPS, compare_attention, divergences, maps
from llmbench.scenario.schema import ExplainOptions, ModelOptions

TINY = ModelOptions(source="builtin:tiny", device="cpu")
IDS = [0, 50, 60, 70, 80]


@pytest.fixture
def tiny() -> TorchModel:
    return models.load_model(TINY)


def test_a_map_has_the_weights_of_each_token_on_those_up_to_it(tiny: TorchModel) -> None:
    layers = maps(tiny, IDS)
    assert list(layers) == list(range(6))
    for layer in layers.values():
        assert layer.shape == (6, 5, 5)
        assert torch.equal(layer, layer.tril())
        torch.testing.assert_close(layer.sum(-1), torch.ones(6, 5))
    assert tiny.module.config._attn_implementation == "sdpa"


@given(seed=st.integers(0, 99))
def test_the_divergence_is_that_of_its_definition_and_bounded(seed: int) -> None:
    torch.manual_seed(seed)
    candidate, reference = torch.randn(2, 3, 4, 4).softmax(-1)
    middle = (candidate + reference) / 2
    kl = [(one * (one / middle).log()).sum(-1) for one in (candidate, reference)]
    divergence = divergences(candidate, reference)
    torch.testing.assert_close(divergence, ((kl[0] + kl[1]) / 2).mean(-1))
    assert (divergence <= math.log(2)).all()
    assert torch.equal(divergences(candidate, candidate), torch.zeros(3))


def test_disjoint_maps_have_a_divergence_of_ln_2() -> None:
    candidate, reference = torch.eye(2)[None], torch.eye(2).flip(0)[None]
    assert divergences(candidate, reference).item() == pytest.approx(math.log(2))


def test_a_dropped_layer_has_no_map_and_the_others_keep_their_numbers(tiny: TorchModel) -> None:
    fewer = pruned(models.load_model(TINY), TINY, DropLayers(kind="layers", layers=(2,)))
    comparison = compare_attention(fewer, tiny, IDS, ExplainOptions())
    assert [row is None for row in comparison["divergence"]] == [n == 2 for n in range(6)]
    # layers before the dropped one are unchanged
    assert comparison["divergence"][0] == [0.0] * 6
    shown_heads = {(m["layer"], m["head"]) for m in comparison["maps"]}
    assert len(shown_heads) == MAX_MAPS
    worst = max(
        (d, n, h) for n, r in enumerate(comparison["divergence"]) if r for h, d in enumerate(r)
    )
    assert worst[1:] in shown_heads


def test_chosen_layers_and_heads_are_shown(tiny: TorchModel) -> None:
    comparison = compare_attention(tiny, tiny, IDS, ExplainOptions(layers=(1, 3), heads=(0,)))
    assert [(m["layer"], m["head"]) for m in comparison["maps"]] == [(1, 0), (3, 0)]
    assert comparison["maps"][0]["candidate"] == comparison["maps"][0]["reference"]


@pytest.mark.parametrize("options", [{"layers": (6,)}, {"heads": (6,)}])
def test_an_unknown_layer_or_head_is_an_error(
    tiny: TorchModel, options: dict[str, tuple[int]]
) -> None:
    with pytest.raises(InputError, match="the reference has no head"):
        compare_attention(tiny, tiny, IDS, ExplainOptions.model_validate(options))
