"""Percentiles, how much data they need, and intervals over processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.stats import (
    bootstrap_interval,
    ecdf,
    effective_size,
    min_samples_for_percentile,
    percentile,
    percentile_interval,
    percentile_upper_bound,
)
from llmbench.analysis.values import difference, estimate

samples = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(samples, st.floats(0, 100))
def test_a_percentile_is_numpys(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == np.percentile(values, percent)


def test_an_empty_sample_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="empty sample"):
        percentile([], 50)


@pytest.mark.parametrize(("percent", "floor"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_needs_the_samples_of_mlperf(percent: float, floor: int) -> None:
    assert min_samples_for_percentile(percent) == floor


def test_p999_needs_the_samples_of_mlperf() -> None:
    assert min_samples_for_percentile(99.9) == pytest.approx(6_636, abs=2)


@given(samples)
def test_an_ecdf_rises_from_above_zero_to_one(values: list[float]) -> None:
    ordered, share = ecdf(values)
    assert ordered.tolist() == sorted(values)
    assert share[-1] == 1
    assert (np.diff(share) > 0).all()


def test_an_interval_is_the_same_each_time() -> None:
    assert bootstrap_interval([1.0, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])


def test_equal_values_have_an_interval_of_zero_width() -> None:
    assert bootstrap_interval([5.0] * 4) == (5.0, 5.0)


def test_two_processes_give_no_interval() -> None:
    with pytest.raises(ValueError, match="needs 3 processes, got 2"):
        bootstrap_interval([1.0, 2.0])


@given(st.lists(st.floats(0.1, 100), min_size=3, max_size=8))
def test_an_interval_contains_the_mean(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    mean = float(np.mean(values))
    assert low <= mean + 1e-9
    assert high >= mean - 1e-9


def test_ninety_five_percent_intervals_of_ten_processes_cover_the_truth_most_of_the_time() -> None:
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(10, 1, 10).tolist()) for _ in range(300)]
    covered = sum(low <= 10 <= high for low, high in intervals) / 300
    assert 0.89 < covered <= 1.0


def test_an_unmeasured_value_is_none_with_the_reason() -> None:
    missing = estimate([None, None], "no GPU")
    assert (missing.value, missing.n, missing.reason) == (None, 0, "no GPU")


def test_an_estimate_of_few_processes_has_no_interval_and_a_reason() -> None:
    few = estimate([1.0, 3.0])
    assert (few.value, few.low, few.reason) == (2.0, None, "an interval needs 3 processes, got 2")


def test_independent_values_have_about_their_number_as_effective_size() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    assert effective_size(values) == pytest.approx(4000, rel=0.1)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_autocorrelated_values_have_a_smaller_effective_size(share: float) -> None:
    noise = np.random.default_rng(1).normal(size=100_000)
    values = [0.0]
    for draw in noise:
        values.append(share * values[-1] + draw)
    # of an autoregressive series of order 1: n (1 - r) / (1 + r)
    assert effective_size(values) == pytest.approx(1e5 * (1 - share) / (1 + share), rel=0.1)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50))
def test_an_effective_size_is_at_most_the_number_of_values(values: list[float]) -> None:
    assert 0 < effective_size(values) <= len(values)


def test_the_interval_of_a_percentile_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(2)
    true = -np.log(0.1)
    intervals = [percentile_interval(rng.exponential(size=500), 90) for _ in range(400)]
    covered = np.mean([low <= true <= high for low, high in intervals])
    assert 0.92 <= covered <= 0.99


def test_the_interval_of_a_percentile_has_its_coverage_for_autocorrelated_values() -> None:
    rng = np.random.default_rng(3)
    intervals = []
    for _ in range(200):
        noise = rng.normal(size=2000) * np.sqrt(1 - 0.8**2)
        values = [rng.normal()]
        for step in noise:
            values.append(0.8 * values[-1] + step)
        intervals.append(percentile_interval(values, 50))
    assert np.mean([low <= 0 <= high for low, high in intervals]) >= 0.9


@pytest.mark.parametrize(("percent", "floor"), [(90, 64), (95, 130), (99, 662)])
def test_a_percentile_with_enough_samples_has_an_upper_bound(percent: float, floor: int) -> None:
    assert percentile_upper_bound(range(floor - 1), percent) == np.inf
    assert percentile_upper_bound(range(floor), percent) == floor - 1  # nothing lies above it


@given(st.integers(64, 400), st.sampled_from([50, 90]))
def test_the_bound_has_the_greatest_number_of_values_above_it(n: int, percent: int) -> None:
    above = n - int(percentile_upper_bound(range(n), percent))

    def chance(at_most: int) -> float:
        p = percent / 100
        return sum(math.comb(n, k) * (1 - p) ** k * p ** (n - k) for k in range(at_most + 1))

    assert chance(above) <= 0.01 < chance(above + 1)


def test_the_bound_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(4)
    bounds = [percentile_upper_bound(rng.exponential(size=300), 90) for _ in range(500)]
    assert np.mean([bound >= -np.log(0.1) for bound in bounds]) >= 0.98


def test_a_difference_lies_between_the_means_with_its_interval() -> None:
    change = difference([1.0, 1.1, 0.9], [3.0, 3.2, 2.8])
    assert change.value == pytest.approx(2.0)
    assert change.low is not None
    assert change.high is not None
    assert 1.5 < change.low < 2.0 < change.high < 2.5


def test_a_difference_of_two_processes_is_unavailable() -> None:
    change = difference([1.0, 1.1], [3.0, 3.2, 2.8])
    assert change.value is None
    assert "3 processes" in str(change.reason)
