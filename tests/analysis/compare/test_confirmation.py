"""Whether new processes confirm a suspected regression."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmbench.analysis.compare.confirmation import (
    ALPHAS,
    Sides,
    confirm,
    is_suspect,
    p_of_swaps,
    verdict_of,
)

FOUR = [0.99, 1.0, 1.01, 1.02]
ALPHA = ALPHAS[0]


def times(factor: float, base: list[float] = FOUR) -> list[float]:
    return [factor * value for value in base]


def normal(seed: int, count: int, spread: float = 0.01) -> list[float]:
    return list(np.exp(np.random.default_rng(seed).normal(0.0, spread, count)))


def sides(
    baseline: list[float], candidate: list[float], tolerance: float = 0.03, **more: Any
) -> Sides:
    return Sides.of(baseline, candidate, **{"better": "lower", "paired": True, **more},
                    tolerance=tolerance)  # fmt: skip


def slower(factor: float, count: int = 8, spread: float = 0.01, **more: Any) -> Sides:
    """Return sides whose candidate is slower by ``factor``."""
    return sides(normal(0, count, spread), times(factor, normal(1, count, spread)), **more)


# -- the test --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(*[st.floats(-1.0, 1.0)] * 2), min_size=6, max_size=6))
def test_whatever_the_machine_does_a_random_order_gives_a_low_p_as_rarely_as_stated(
    pairs: list[tuple[float, float]],
) -> None:
    orders = product(*[(pair, pair[::-1]) for pair in pairs])
    ps = np.array([p_of_swaps(*np.array(order).T) for order in orders])
    assert all((ps <= level).mean() <= level for level in ps)


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 4.0])] * 2), min_size=1, max_size=6))
def test_the_p_counts_all_swaps_within_pairs(pairs: list[tuple[float, float]]) -> None:
    ranks = stats.rankdata([value for pair in zip(*pairs, strict=True) for value in pair])
    of_pairs = list(zip(*np.split(ranks, 2), strict=True))
    sums = [sum(higher) for higher in product(*of_pairs)]
    expected = np.mean([total >= sum(high for _, high in of_pairs) - 1e-9 for total in sums])
    assert p_of_swaps(*np.array(pairs).T) == pytest.approx(expected)


@given(st.integers(1, 30))
def test_the_lowest_p_is_that_of_one_order_of_all(pairs: int) -> None:
    assert p_of_swaps(np.zeros(pairs), np.ones(pairs)) == pytest.approx(2.0**-pairs)
    assert p_of_swaps(np.ones(pairs), np.zeros(pairs)) == pytest.approx(1.0)


def test_a_trend_of_all_processes_hides_no_change_of_pairs() -> None:
    trend = np.exp(0.02 * np.arange(24))
    steady, moving = (
        slower(1.08, 24) if factor is None else
        sides(list(normal(0, 24) * factor), list(1.08 * np.array(normal(1, 24)) * factor))
        for factor in (None, trend)
    )  # fmt: skip
    assert confirm([moving], ALPHA)[0][0] == confirm([steady], ALPHA)[0][0] == "confirmed"
    assert moving.shift == pytest.approx(steady.shift)


def test_a_stored_baseline_is_judged_by_the_mann_whitney_test() -> None:
    a, b = normal(0, 5), times(1.04, normal(1, 8))
    expected = stats.mannwhitneyu(b, times(1.03, a), alternative="greater", method="exact").pvalue
    assert confirm([sides(a, b, paired=False)], ALPHA)[0][1] == pytest.approx(expected)


# -- suspicion and confirmation --------------------------------------------------------------------


def test_a_screen_suspects_changes_near_the_tolerance() -> None:
    suspected = [is_suspect(sides(FOUR, times(factor))) for factor in (1.025, 1.01, 0.9)]
    assert suspected == [True, False, False]


def test_a_screen_is_not_misled_by_slow_baseline_processes() -> None:
    slow = [0.99, 1.0, 1.5, 1.5]
    assert all(is_suspect(sides(slow, times(1.1), paired=paired)) for paired in (True, False))


def test_a_screen_of_pairs_sees_a_change_that_is_smaller_than_what_the_repeats_differ_by() -> None:
    draws = [1.0, 2.0, 4.0, 8.0]
    assert is_suspect(sides(draws, times(1.1, draws)))


def test_new_processes_confirm_a_change_beyond_the_tolerance() -> None:
    states = [confirm([slower(factor)], ALPHA)[0][0] for factor in (1.08, 1.03, 1.0)]
    assert states == ["confirmed", "open", "cleared"]


def test_a_higher_rate_is_better() -> None:
    states = [confirm([slower(by, better="higher")], ALPHA)[0][0] for by in (0.9, 1.1)]
    assert states == ["confirmed", "cleared"]


def test_seven_pairs_confirm_nothing() -> None:
    assert [confirm([slower(2.0, count)], ALPHA)[0][0] for count in (7, 8)] == ["open", "confirmed"]


def test_equal_values_clear_a_suspicion() -> None:
    ((state, p),) = confirm([sides([1.0] * 8, [1.0] * 8, 0.0001)], ALPHA)
    assert state == "cleared"
    assert p == pytest.approx(1.0)


def test_a_change_that_is_surely_within_the_tolerance_is_cleared() -> None:
    assert confirm([slower(1.02, 24, spread=0.002)], ALPHA)[0][0] == "cleared"


def test_noise_that_hides_a_change_leaves_it_open() -> None:
    assert confirm([slower(1.1, 24, spread=0.3)], ALPHA)[0][0] == "open"


def test_one_low_p_among_many_suspects_confirms_nothing() -> None:
    low, high = slower(1.08), slower(1.03)
    alone, among, after_others_were_cleared = (
        confirm([low], ALPHA), confirm([low, high], ALPHA), confirm([low], ALPHA, cleared=1),
    )  # fmt: skip
    assert [states[0][0] for states in (alone, among, after_others_were_cleared)] == [
        "confirmed", "open", "open",
    ]  # fmt: skip


def test_a_change_of_all_suspects_is_confirmed_for_all() -> None:
    assert [state for state, _ in confirm([slower(1.08)] * 5, ALPHA)] == ["confirmed"] * 5


def test_without_suspects_nothing_is_confirmed() -> None:
    assert confirm([], ALPHA, cleared=3) == []


# -- verdicts --------------------------------------------------------------------------------------


def test_the_interval_has_the_changes_that_the_test_does_not_reject() -> None:
    measured = slower(1.08, 12)
    change = measured.change
    assert change.low < change.ratio < change.high
    for end, p in ((change.low, measured.p_worse), (change.high, measured.p_better)):
        at = math.log(end)
        assert min(p(at - 1e-6), p(at + 1e-6)) <= 0.025 <= max(p(at - 1e-6), p(at + 1e-6))


def test_an_interval_covers_the_truth_in_95_percent_of_samples_even_under_a_trend() -> None:
    covered = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        pairs = rng.permuted((0.01 * np.arange(16) + rng.normal(0, 0.01, 16)).reshape(8, 2), axis=1)
        measured = Sides(pairs[:, 0], pairs[:, 1] + 0.05, "lower", 0.03, paired=True)
        covered += min(measured.p_worse(0.05), measured.p_better(0.05)) > 0.025
    assert 0.94 <= covered / 400 <= 0.99


def test_the_change_of_a_rate_is_that_of_its_values() -> None:
    lower, higher = (slower(1.08, better=better).change for better in ("lower", "higher"))
    assert (higher.ratio, higher.low, higher.high) == pytest.approx(
        (lower.ratio, lower.low, lower.high), rel=1e-6
    )


def test_five_pairs_have_no_95_percent_interval() -> None:
    change = slower(1.08, 5).change
    assert (change.low, change.high) == (0.0, math.inf)


def test_a_confirmed_suspicion_is_a_regression() -> None:
    assert verdict_of(slower(1.08), "confirmed", 0.001).outcome == "regression"


def test_an_open_suspicion_is_undecided_and_says_what_would_decide_it() -> None:
    verdict = verdict_of(slower(1.2, 24, spread=0.1), "open", 0.1)
    assert verdict.outcome == "undecided"
    assert verdict.reason.startswith("24 new processes neither confirm nor rule out a regression")
    assert verdict.repeats is not None
    assert verdict.repeats > 24


def test_a_cleared_suspicion_is_equivalent_if_the_change_is_within_the_tolerance() -> None:
    quiet, noisy = slower(1.0, spread=0.002), slower(1.0, spread=0.1)
    outcomes = [verdict_of(measured, "cleared", 1.0).outcome for measured in (quiet, noisy)]
    assert outcomes == ["equivalent", "inconclusive"]
