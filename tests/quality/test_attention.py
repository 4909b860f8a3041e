"""Maps of attention: what they are, and how far two of them are apart."""

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
from llmbench.quality.attention import MOST_MAPS, compared, divergences, maps
from llmbench.scenario.schema import ExplainOptions, ModelOptions

TINY = ModelOptions(source="builtin:tiny", device="cpu")
IDS = [0, 50, 60, 70, 80]


@pytest.fixture
def tiny() -> TorchModel:
    return models.load_model(TINY)


def test_a_map_says_how_much_each_token_looks_at_those_before_it(tiny: TorchModel) -> None:
    found = maps(tiny, IDS)
    assert list(found) == list(range(6))
    for layer in found.values():
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
    found = divergences(candidate, reference)
    torch.testing.assert_close(found, ((kl[0] + kl[1]) / 2).mean(-1))
    assert (found <= math.log(2)).all()
    assert torch.equal(divergences(candidate, candidate), torch.zeros(3))


def test_maps_that_share_nothing_are_ln_2_apart() -> None:
    candidate, reference = torch.eye(2)[None], torch.eye(2).flip(0)[None]
    assert divergences(candidate, reference).item() == pytest.approx(math.log(2))


def test_a_dropped_layer_has_no_map_and_the_others_keep_their_numbers(tiny: TorchModel) -> None:
    fewer = pruned(models.load_model(TINY), TINY, DropLayers(kind="layers", layers=(2,)))
    told = compared(fewer, tiny, IDS, ExplainOptions())
    assert [row is None for row in told["divergence"]] == [n == 2 for n in range(6)]
    # what comes before the dropped layer is as it was
    assert told["divergence"][0] == [0.0] * 6
    parted = {(shown["layer"], shown["head"]) for shown in told["maps"]}
    assert len(parted) == MOST_MAPS
    worst = max((d, n, h) for n, r in enumerate(told["divergence"]) if r for h, d in enumerate(r))
    assert worst[1:] in parted


def test_chosen_layers_and_heads_are_shown(tiny: TorchModel) -> None:
    told = compared(tiny, tiny, IDS, ExplainOptions(layers=(1, 3), heads=(0,)))
    assert [(shown["layer"], shown["head"]) for shown in told["maps"]] == [(1, 0), (3, 0)]
    assert told["maps"][0]["candidate"] == told["maps"][0]["reference"]


@pytest.mark.parametrize("asked", [{"layers": (6,)}, {"heads": (6,)}])
def test_a_layer_or_head_that_is_not_there_is_an_error(
    tiny: TorchModel, asked: dict[str, tuple[int]]
) -> None:
    with pytest.raises(InputError, match="the reference has no head"):
        compared(tiny, tiny, IDS, ExplainOptions.model_validate(asked))
