"""The shapes that torch.compile gets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.torch.compiled import Compiled
from llmbench.engine.buckets import Buckets
from llmbench.errors import InputError
from llmbench.models import product_choice
from llmbench.models.loading import TorchModel
from llmbench.models.products import StepLinear
from llmbench.scenario.schema import EngineOptions, ModelOptions

SHAPE = LoadShape((4, 9), 40)


def buckets(slots: int, **options: Any) -> Buckets:
    return Compiled(Compiled.Options(**options)).buckets(SHAPE, slots, max_length=64)


@pytest.mark.parametrize(("rows", "padded"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_a_decode_step_is_padded_to_a_power_of_two(rows: int, padded: int) -> None:
    assert buckets(slots=8).batch(rows) == padded


def test_no_step_is_larger_than_the_number_of_slots() -> None:
    assert buckets(slots=6).rows == (1, 2, 4, 6)


def test_batch_sizes_can_be_set() -> None:
    assert buckets(slots=16, row_buckets=(1, 8)).rows == (1, 8, 16)


def test_every_batch_size_is_compiled_in_the_warm_up() -> None:
    sizes = buckets(slots=16)
    assert Compiled(Compiled.Options()).warmup_shapes(sizes, SHAPE).rows == (1, 2, 4, 8, 16)


def test_the_self_check_compiles_no_prompt_length_that_the_load_has_not() -> None:
    compiled = Compiled(Compiled.Options(prefill="compiled"))
    assert compiled.checked_prompts(SHAPE, max_length=64) == SHAPE.prompt_lengths
    exact = Compiled(Compiled.Options())
    assert exact.checked_prompts(SHAPE, max_length=64) == range(1, 65)


def test_prompts_of_eager_prefills_are_not_padded() -> None:
    assert [buckets(slots=2).prompt(length) for length in (1, 5, 64)] == [1, 5, 64]


def test_eager_prefills_warm_up_with_the_lengths_of_the_load() -> None:
    sizes = buckets(slots=2)
    assert Compiled(Compiled.Options()).warmup_shapes(sizes, SHAPE).prompts == (4, 9)


def test_several_prompts_are_padded_to_doubled_sizes_of_compiled_prefills() -> None:
    sizes = buckets(slots=4, prefill="compiled").prompts
    assert sizes == (9, 18, 36)
    assert buckets(slots=1, prefill="compiled").prompts == (9,)


def test_every_compiled_prefill_of_several_prompts_is_part_of_the_warm_up() -> None:
    sizes = buckets(slots=4, prefill="compiled")
    compiled = Compiled(Compiled.Options(prefill="compiled"))
    assert compiled.warmup_totals(sizes, range(8, 19)) == [9, 18]
    assert list(Compiled(Compiled.Options()).warmup_totals(sizes, range(8, 19))) == [18]


def loaded(slots: int, **options: Any) -> TorchModel:
    context = OpenContext(
        ModelOptions(source="random:tiny", device="cpu"), SHAPE, EngineOptions(slots=slots)
    )
    return Compiled(Compiled.Options(**options)).load(context)


@pytest.fixture
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated products are the fastest for one and two rows, packed weights for more."""
    monkeypatch.setattr(product_choice, "probes_of", lambda _, rows, __, **_others: rows)
    monkeypatch.setattr(
        product_choice, "fastest", lambda rows: "generated" if rows <= 2 else "packed"
    )


@pytest.mark.usefixtures("_measured")
def test_the_fastest_products_of_each_batch_size_are_chosen_and_effective() -> None:
    model = loaded(slots=4)
    assert model.requested["matvec"] == "auto"
    assert model.effective["matvec"] == "generated: 1, 2 rows; packed: 4 rows"
    layers = [layer for layer in model.module.modules() if isinstance(layer, StepLinear)]
    assert all(layer.products == {1: "generated", 2: "generated", 4: "packed"} for layer in layers)


@pytest.mark.usefixtures("_measured")
def test_one_graph_for_all_sizes_has_the_products_of_the_library() -> None:
    assert loaded(slots=2, matvec="auto", dynamic=True).effective["matvec"] == "library"


@pytest.mark.parametrize("matvec", ["library", "generated", "packed"])
def test_products_can_be_set(matvec: str) -> None:
    assert loaded(slots=4, matvec=matvec).effective["matvec"] == matvec


def test_products_of_many_rows_are_not_generated() -> None:
    model = loaded(slots=32, matvec="generated", row_buckets=(8, 16))
    assert model.effective["matvec"] == "generated: 8, 16 rows; library: 32 rows"
    assert "up to 16 rows" in model.reasons["matvec"]


def test_a_wrong_option_of_the_compiler_is_an_error_before_the_model_is_loaded() -> None:
    with pytest.raises(InputError, match="inductor has no option 'speed'"):
        loaded(slots=1, inductor={"speed": 9})


def test_a_step_that_cannot_be_compiled_is_refused_with_the_reason() -> None:
    def step(tokens: torch.Tensor) -> torch.Tensor:
        for expert in tokens.nonzero():  # how often is known only when it runs
            tokens = tokens + tokens[expert]
        return tokens

    compiled = Compiled(Compiled.Options()).compile_decode(step)
    with pytest.raises(InputError, match=r"torch.compile fails on this model: .* `eager` runs"):
        compiled(torch.ones(3))


class Scaled(nn.Module):
    """A model that multiplies by a number that is part of its graph."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.factor * tokens


class Stepping:
    """What a runner is to its compiled steps."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.model(tokens)
        return output


@pytest.mark.parametrize("fullgraph", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_two_models_of_one_kind_in_one_process_have_graphs_of_their_own(*, fullgraph: bool) -> None:
    backend = Compiled(Compiled.Options(fullgraph=fullgraph))
    steps = [backend.compile_decode(Stepping(Scaled(factor)).step) for factor in (2.0, 3.0)]
    assert [step(torch.ones(1)).item() for step in steps] == [2.0, 3.0]
