"""Random tokens of given lengths."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.workloads.lengths import LONGEST, Length, Lengths
from llmbench.workloads.synthetic import Synthetic

LENGTHS: TypeAdapter[Length] = TypeAdapter(Lengths)


def draw(count: int, seed: int = 0, **options: Any) -> list[Request]:
    workload = Synthetic(Synthetic.Options.model_validate(options))
    return list(islice(workload.requests(ByteTokenizer(10), seed), count))


def lengths(spec: object, count: int = 2_000) -> np.ndarray:
    length = LENGTHS.validate_python(spec)
    return np.array(list(islice(length.stream(np.random.default_rng(0)), count)))


def test_prompts_have_the_requested_lengths() -> None:
    assert {len(r.prompt) for r in draw(200, prompt_tokens={"uniform": [3, 5]})} == {3, 4, 5}


def test_equal_seeds_give_equal_requests() -> None:
    assert draw(20, seed=4) == draw(20, seed=4)


def test_different_seeds_give_different_contents() -> None:
    assert draw(20, seed=4) != draw(20, seed=5)


def test_changing_the_output_lengths_does_not_change_the_prompts() -> None:
    uniform = {"uniform": [5, 9]}
    one = [r.prompt for r in draw(20, prompt_tokens=uniform, output_tokens=4)]
    other = [r.prompt for r in draw(20, prompt_tokens=uniform, output_tokens=uniform)]
    assert one == other


def test_a_shared_prefix_is_the_same_for_all_and_the_rest_is_not() -> None:
    prompts = [r.prompt for r in draw(50, prompt_tokens=20, shared_prefix=0.5)]
    assert len({prompt[:10] for prompt in prompts}) == 1
    assert len({prompt[10:] for prompt in prompts}) == 50


def test_every_id_is_one_of_the_vocabulary() -> None:
    ids = {token for request in draw(50) for token in request.prompt}
    assert ids == set(range(10))


def test_a_fixed_length_is_a_bare_number() -> None:
    assert set(lengths(64)) == {64}


def test_a_uniform_length_reaches_both_bounds_evenly() -> None:
    _, counts = np.unique(lengths({"uniform": [1, 4]}, 8_000), return_counts=True)
    assert len(counts) == 4
    assert counts == pytest.approx([2_000] * 4, rel=0.1)


def test_a_normal_length_has_its_mean_and_deviation() -> None:
    drawn = lengths({"normal": {"mean": 64, "sd": 8}}, 20_000)
    assert (drawn.mean(), drawn.std()) == (pytest.approx(64, rel=0.01), pytest.approx(8, rel=0.03))


def test_a_lognormal_length_has_its_median() -> None:
    drawn = lengths({"lognormal": {"median": 100, "sigma": 0.5}}, 20_000)
    assert np.median(drawn) == pytest.approx(100, rel=0.02)


def test_an_empirical_length_draws_from_the_list() -> None:
    assert set(lengths({"empirical": [12, 80, 256]})) == {12, 80, 256}


@given(st.floats(0.1, 200), st.floats(0, 3), st.integers(1, 50), st.integers(0, 50))
def test_bounds_hold_for_any_distribution(
    median: float, sigma: float, low: int, width: int
) -> None:
    spec = {"lognormal": {"median": median, "sigma": sigma}, "min": low, "max": low + width}
    drawn = lengths(spec, 50)
    assert drawn.min() >= low
    assert drawn.max() <= low + width


INVALID: list[Any] = [
    0,
    -3,
    "long",
    True,
    {},
    {"uniform": [4]},
    {"empirical": []},
    {"fixed": 1, "uniform": [1, 2]},
    {"fixed": 5, "min": 4, "max": 3},
]


@pytest.mark.parametrize("spec", INVALID)
def test_invalid_distributions_are_rejected(spec: object) -> None:
    with pytest.raises(ValidationError):
        LENGTHS.validate_python(spec)


def test_each_group_has_its_own_prefix() -> None:
    requests = draw(200, prompt_tokens=8, shared_prefix=0.5, prefix_groups=3)
    assert len({request.prompt[:4] for request in requests}) == 3
    assert len({request.prompt for request in requests}) > 3


def test_groups_do_not_change_other_draws() -> None:
    (one,), (many,) = (draw(1, shared_prefix=0.5, prefix_groups=n) for n in (1, 5))
    assert one.prompt[64:] == many.prompt[64:]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompt_tokens": {"uniform": [3, 50]}, "output_tokens": {"normal": {"mean": 9, "sd": 4}}},
    ],
)
def test_lengths_are_known_before_prompts_are_made(options: dict[str, Any]) -> None:
    workload = Synthetic(Synthetic.Options.model_validate(options))
    made = [len(r.prompt) + r.max_new_tokens for r in draw(50, seed=3, **options)]
    assert list(islice(workload.sequence_lengths(3), 50)) == made


def test_no_length_exceeds_the_longest_context_known() -> None:
    assert lengths({"lognormal": {"median": 64, "sigma": 1e300}}).max() == LONGEST
    assert lengths({"normal": {"mean": 1e308, "sd": 1e308}, "max": 99}).max() == 99
    with pytest.raises(ValidationError, match="less than or equal to 10000000"):
        LENGTHS.validate_python(LONGEST + 1)
