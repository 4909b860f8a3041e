"""The shapes that torch.compile gets."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.backends.base import LoadShape
from llmbench.backends.torch.compiled import Compiled
from llmbench.engine.buckets import Buckets

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
