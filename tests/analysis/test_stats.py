"""Percentiles, how much data they need, and intervals over processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.stats import (
    ecdf,
    effective_size,
    geometric_interval,
    geometric_mean,
    min_samples_for_percentile,
    percentile,
    percentile_interval,
    percentile_upper_bound,
    share_interval,
    t_interval,
)
from llmbench.analysis.values import Scale, Value, estimate

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


# -- over processes --------------------------------------------------------------------------------

positive = st.lists(st.floats(0.01, 100), min_size=3, max_size=8)


@given(positive)
def test_an_interval_of_a_mean_is_scipys(values: list[float]) -> None:
    expected = scipy.stats.t.interval(
        0.95, len(values) - 1, np.mean(values), max(scipy.stats.sem(values), 1e-12)
    )
    assert t_interval(values) == pytest.approx(expected, abs=1e-9)


@given(positive, st.floats(0.01, 100))
def test_a_geometric_interval_scales_with_its_values(values: list[float], factor: float) -> None:
    scaled = geometric_interval([factor * value for value in values])
    assert scaled == pytest.approx([factor * float(end) for end in geometric_interval(values)])


@given(positive)
def test_the_geometric_interval_of_reciprocals_is_the_reciprocal(values: list[float]) -> None:
    low, high = geometric_interval(values)
    assert geometric_interval([1 / v for v in values]) == pytest.approx((1 / high, 1 / low))


@given(positive)
def test_a_geometric_interval_contains_the_geometric_mean(values: list[float]) -> None:
    low, high = geometric_interval(values)
    assert low <= geometric_mean(values) <= high


@pytest.mark.parametrize("scale", ["positive", "nonnegative", "signed"])
def test_equal_values_have_an_interval_of_zero_width(scale: Scale) -> None:
    equal = estimate([Value(0.1)] * 3, scale)
    assert (equal.low, equal.value, equal.high) == (0.1, 0.1, 0.1)


def test_two_processes_give_no_interval() -> None:
    with pytest.raises(ValueError, match="needs 3 processes, got 2"):
        t_interval([1.0, 2.0])
    with pytest.raises(ValueError, match="needs 3 processes, got 2"):
        share_interval([1.0, 2.0], [3, 3])


def test_intervals_of_many_cases_are_computed_at_once() -> None:
    cases = np.array([[1.0, 2.0, 4.0], [3.0, 3.5, 5.0]])
    low, high = geometric_interval(cases)
    assert [low[1], high[1]] == pytest.approx(geometric_interval(cases[1]))
    low, high = share_interval(cases, np.full((2, 3), 5))
    assert [low[1], high[1]] == pytest.approx(share_interval(cases[1], [5, 5, 5]))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_geometric_interval_covers_the_truth_at_its_level(n: int) -> None:
    values = np.exp(np.random.default_rng(n).normal(0, 0.5, (20_000, n)))
    low, high = geometric_interval(values)
    assert np.mean((low <= 1) & (high >= 1)) == pytest.approx(0.95, abs=0.005)


def test_the_interval_of_a_share_that_is_the_same_everywhere_is_the_exact_binomial_one() -> None:
    exact = scipy.stats.binomtest(300, 400).proportion_ci(method="exact")
    interval = share_interval([75, 75, 75, 75], [100, 100, 100, 100])
    assert interval == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("counts", "end"), [([0, 0, 0], 0), ([50, 50, 50], 1)])
def test_a_share_of_none_or_all_is_uncertain_in_one_direction(counts: list[int], end: int) -> None:
    low, high = share_interval(counts, [50, 50, 50])
    rest = 1 - 0.025 ** (1 / 150)  # the share at which 150 of 150 have a probability of 2.5 %
    assert (low, high) == pytest.approx((0, rest) if end == 0 else (1 - rest, 1))


def test_processes_that_differ_widen_the_interval_of_their_share() -> None:
    low, high = share_interval([90, 75, 60], [100, 100, 100])
    even_low, even_high = share_interval([75, 75, 75], [100, 100, 100])
    assert low < even_low < even_high < high


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_the_interval_of_a_share_covers_the_truth_also_where_processes_differ(
    spread: float,
) -> None:
    rng = np.random.default_rng(5)
    scale = 0.95 * 0.05 / spread**2 - 1 if spread else 0.0
    shares = rng.beta(0.95 * scale, 0.05 * scale, (20_000, 5)) if spread else 0.95
    low, high = share_interval(rng.binomial(150, shares, (20_000, 5)), np.full((20_000, 5), 150))
    assert np.mean((low <= 0.95) & (high >= 0.95)) >= 0.94


def test_an_unmeasured_value_is_none_with_the_reason() -> None:
    missing = estimate([Value.unavailable("no GPU"), Value.unavailable("no GPU")])
    assert (missing.value, missing.n, missing.reason) == (None, 0, "no GPU")


def test_an_estimate_of_few_processes_has_no_interval_and_a_reason() -> None:
    few = estimate([Value(1.0), Value(4.0)])
    assert few.value == pytest.approx(2.0)
    assert (few.low, few.reason) == (None, "an interval needs 3 processes, got 2")


def test_a_positive_metric_with_a_0_has_the_plain_mean() -> None:
    values = estimate([Value(0.0), Value(1.0), Value(2.0)])
    assert (values.value, values.low) == (1.0, 0.0)


def test_the_interval_of_a_difference_may_be_negative() -> None:
    values = estimate([Value(-1.0), Value(1.0), Value(3.0)], "signed")
    assert values.low is not None
    assert (values.value, values.low < 0) == (1.0, True)


def test_a_share_over_processes_counts_all_requests() -> None:
    assert estimate([Value(0.5, 100), Value(0.8, 300)], "share").value == pytest.approx(0.725)


def test_a_share_of_an_unknown_number_of_requests_has_the_plain_mean() -> None:
    values = estimate([Value(0.5), Value(0.7), Value(0.9)], "share")
    assert values.value == pytest.approx(0.7)


@pytest.mark.parametrize(("n", "name"), [(7, "t interval"), (8, "95 % interval")])
def test_an_interval_is_named_by_its_coverage(n: int, name: str) -> None:
    assert estimate([Value(float(v)) for v in range(1, n + 1)]).interval_name == name


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
