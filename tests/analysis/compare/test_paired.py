"""Ratios paired by repeat are tested together, and their errors are bounded for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.compare.paired import (
    holm,
    min_repeats,
    p_of_ratios,
    repeats_needed,
    simultaneous_interval,
)

log_ratios = st.lists(st.floats(-2, 2), min_size=3, max_size=9).filter(
    lambda logs: float(np.std(logs)) > 1e-6
)
ps = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(log_ratios)
def test_the_p_of_ratios_is_that_of_students_t(logs: list[float]) -> None:
    expected = scipy.stats.ttest_1samp(logs, 0).pvalue
    assert p_of_ratios(np.array(logs)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("logs", "p"), [([0.0, 0.0, 0.0], 1.0), ([0.5, 0.5, 0.5], 0.0)])
def test_equal_ratios_are_certain(logs: list[float], p: float) -> None:
    assert p_of_ratios(np.array(logs)) == p


def test_holm_rejects_step_by_step() -> None:
    assert holm(np.array([0.04, 0.001, 0.024, 0.016])).tolist() == [True] * 4
    assert holm(np.array([0.04, 0.001, 0.026, 0.016])).tolist() == [False, True, False, True]


@given(ps)
def test_holm_rejects_at_least_what_bonferroni_does_and_nothing_above_alpha(
    values: list[float],
) -> None:
    array = np.array(values)
    significant = holm(array)
    assert significant[array <= 0.05 / len(values)].all()
    assert not significant[array > 0.05].any()


@given(ps, ps)
def test_holm_judges_every_report_by_itself(one: list[float], other: list[float]) -> None:
    count = min(len(one), len(other))
    both = np.array([one[:count], other[:count]])
    assert (holm(both) == [holm(both[0]), holm(both[1])]).all()


@pytest.mark.parametrize(
    ("claims", "repeats"), [(1, 3), (3, 4), (6, 4), (7, 5), (25, 5), (26, 6), (102, 6), (103, 7)]
)
def test_more_claims_take_more_repeats(claims: int, repeats: int) -> None:
    assert min_repeats(claims) == repeats
    assert 2 * claims / 4**repeats <= 0.05


@given(log_ratios, st.integers(1, 50))
def test_the_interval_of_a_claim_excludes_1_if_it_is_significant_by_bonferroni(
    logs: list[float], claims: int
) -> None:
    array = np.array(logs)
    low, high = simultaneous_interval(array, claims)
    p, level = float(p_of_ratios(array)), 0.05 / claims
    if not math.isclose(p, level, rel_tol=1e-6):
        assert (low > 1 or high < 1) == (p < level)


def test_intervals_of_all_claims_hold_together() -> None:
    rng = np.random.default_rng(0)
    reports = rng.normal(0.2, 0.1, (1000, 9, 5))
    held = [
        all(
            low <= math.exp(0.2) <= high
            for low, high in map(simultaneous_interval, report, [9] * 9)
        )
        for report in reports
    ]
    assert np.mean(held) >= 0.94


def test_equal_cases_are_called_different_in_at_most_5_percent_of_reports() -> None:
    rng = np.random.default_rng(1)
    p = p_of_ratios(rng.normal(0, 0.05, (20_000, 9, 5)))
    assert holm(p).any(axis=1).mean() == pytest.approx(0.05, abs=0.005)


def test_the_repeats_needed_give_their_power() -> None:
    rng = np.random.default_rng(2)
    pilot = rng.normal(0, 0.1, 1000)
    logs = 0.1 + 0.1 * (pilot - pilot.mean()) / pilot.std(ddof=1)
    n = repeats_needed(logs, 9)
    assert n is not None
    found = p_of_ratios(rng.normal(0.1, 0.1, (20_000, n))) <= 0.05 / 9
    assert found.mean() == pytest.approx(0.8, abs=0.05)


def test_a_ratio_of_1_takes_more_repeats_than_anyone_has() -> None:
    assert repeats_needed(np.array([-0.1, 0.0, 0.1]), 3) is None


def test_a_large_ratio_takes_no_fewer_repeats_than_its_claims_do() -> None:
    assert repeats_needed(np.array([2.0, 2.0, 2.0]), 9) == min_repeats(9)
