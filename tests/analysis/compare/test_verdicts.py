"""Whether a metric changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmbench.analysis.compare.verdicts import (
    Change,
    benjamini_hochberg,
    change_of,
    decide,
    mann_whitney_p,
    repeats_needed,
)

FOUR = [0.99, 1.0, 1.01, 1.02]
values = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=8)


def times(factor: float, base: list[float] = FOUR) -> list[float]:
    return [factor * value for value in base]


def normal(seed: int, count: int, spread: float = 0.01) -> list[float]:
    return list(np.exp(np.random.default_rng(seed).normal(0.0, spread, count)))


def test_a_change_is_the_median_of_all_ratios() -> None:
    assert change_of([1.0, 2.0], [3.0, 8.0]).ratio == pytest.approx(math.sqrt(3.0 * 4.0))


@given(values, values, st.floats(0.5, 2.0))
def test_a_change_scales_with_the_candidate(a: list[float], b: list[float], factor: float) -> None:
    scaled = change_of(a, times(factor, b))
    assert scaled.ratio == pytest.approx(factor * change_of(a, b).ratio)


@given(values, values)
def test_an_interval_contains_its_change(a: list[float], b: list[float]) -> None:
    change = change_of(a, b)
    assert change.low <= change.ratio * (1 + 1e-12)
    assert change.high >= change.ratio * (1 - 1e-12)


def test_three_processes_per_side_have_no_95_percent_interval() -> None:
    assert change_of(FOUR[:3], FOUR[:3]) == Change(1.0, 0.0, math.inf)


def test_the_interval_of_four_processes_per_side_spans_all_ratios() -> None:
    change = change_of(FOUR, FOUR)
    assert change.low == pytest.approx(0.99 / 1.02)
    assert change.high == pytest.approx(1.02 / 0.99)


def test_one_slow_process_moves_neither_the_change_nor_the_interval_far() -> None:
    bad = [*normal(0, 7), 2.0]
    change = change_of(normal(1, 8), bad)
    assert 0.98 < change.ratio < 1.02
    assert change.high < 1.05


def test_an_interval_covers_the_truth_in_95_percent_of_samples() -> None:
    covered = 0
    for seed in range(400):
        change = change_of(normal(seed, 6), times(1.05, normal(10_000 + seed, 6)))
        covered += change.low <= 1.05 <= change.high
    assert 0.93 <= covered / 400 <= 0.99


@pytest.mark.parametrize("bad", [[], [0.0], [-1.0, 1.0], [math.nan]])
def test_values_without_a_logarithm_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        change_of(FOUR, bad)


def test_slower_beyond_the_tolerance_is_a_regression() -> None:
    assert decide(FOUR, times(1.1), "lower", 0.03).outcome == "regression"


def test_a_higher_rate_is_better() -> None:
    assert decide(FOUR, times(1.1), "higher", 0.03).outcome == "improvement"
    assert decide(FOUR, times(0.9), "higher", 0.03).outcome == "regression"


def test_faster_beyond_the_tolerance_is_an_improvement() -> None:
    assert decide(FOUR, times(0.9), "lower", 0.03).outcome == "improvement"


def test_a_change_within_the_tolerance_is_equivalent() -> None:
    assert decide(normal(0, 8, 0.002), normal(1, 8, 0.002), "lower", 0.03).outcome == "equivalent"


def test_an_inconclusive_verdict_has_the_repeats_that_would_settle_it() -> None:
    verdict = decide(normal(0, 4, 0.03), normal(1, 4, 0.03), "lower", 0.03)
    assert verdict.outcome == "inconclusive"
    assert verdict.repeats is not None
    assert verdict.repeats > 4


def test_too_few_processes_decide_nothing() -> None:
    assert decide([1.0], [2.0], "lower", 0.03).outcome == "inconclusive"


def test_the_estimated_repeats_mostly_settle_a_metric() -> None:
    a, b = (np.log(normal(seed, 6, 0.02)) for seed in (0, 1))
    needed = repeats_needed(a, b, math.log1p(0.03))
    assert needed is not None
    settled = sum(
        decide(normal(2 * s, needed, 0.02), normal(2 * s + 1, needed, 0.02), "lower", 0.03).outcome
        == "equivalent"
        for s in range(100)
    )
    assert settled >= 65


def test_a_change_at_the_tolerance_is_never_settled() -> None:
    a = np.log(FOUR)
    assert repeats_needed(a, a + 0.03, 0.03) is None


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 100))
def test_the_mann_whitney_test_is_that_of_scipy(m: int, n: int, seed: int) -> None:
    a, b = np.array(normal(seed, n)), np.array(normal(1000 + seed, m))
    expected = stats.mannwhitneyu(b, a, alternative="greater", method="exact").pvalue
    assert mann_whitney_p(a, b) == pytest.approx(expected)


@given(*[st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=7)] * 2)
def test_ties_count_against_a_difference(a: list[float], b: list[float]) -> None:
    lower = [value - 1e-6 for value in b]
    assert mann_whitney_p(np.array(a), np.array(b)) == mann_whitney_p(np.array(a), np.array(lower))


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        ([0.001, 0.5, 0.02, 0.03], [True, False, True, True]),
        ([0.04, 0.9, 0.9, 0.9], [False] * 4),
        ([], []),
    ],
)
def test_false_discoveries_are_controlled_by_benjamini_and_hochberg(
    ps: list[float], expected: list[bool]
) -> None:
    assert benjamini_hochberg(ps) == expected
