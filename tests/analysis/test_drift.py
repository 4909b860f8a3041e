"""A drift is found where there is one, and its slope is that of the values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmbench.analysis.drift import (
    FEWEST,
    _p_of_shift,
    _p_of_trend,
    _pettitt,
    _variance_of_s,
    drift_of,
    shifts,
)

Floats = NDArray[np.float64]
TIMES: Floats = np.arange(60, dtype=np.float64) * 60
MANY = 1e9  # degrees of freedom


def noise(seed: int = 0, count: int = 60) -> Floats:
    return np.random.default_rng(seed).standard_normal(count)


def test_the_slope_is_that_of_a_line() -> None:
    drift = drift_of(TIMES, 5 + 0.25 * TIMES)
    assert drift.slope == pytest.approx(0.25)
    assert (drift.low, drift.high) == pytest.approx((0.25, 0.25))
    assert drift.p < 1e-9
    assert not drift.is_shift


def test_the_interval_contains_the_slope_of_noisy_values() -> None:
    covered = [
        drift.low <= 0.01 <= drift.high
        for seed in range(200)
        for drift in [drift_of(TIMES, 0.01 * TIMES + noise(seed))]
    ]
    assert np.mean(covered) >= 0.9


def test_a_single_disturbed_span_changes_little() -> None:
    values = 0.01 * TIMES + 0.01 * noise()
    disturbed = values.copy()
    disturbed[17] = 1e6
    assert drift_of(TIMES, disturbed).slope == pytest.approx(0.01, rel=0.02)


def test_a_shift_is_told_from_a_line() -> None:
    step = np.where(np.arange(60) < 25, 10.0, 12.0) + 0.1 * noise()
    drift = drift_of(TIMES, step)
    assert drift.is_shift
    assert drift.p < 1e-3
    (shift,) = shifts(step, drift.inflation, 0.01)
    assert shift.index == 25
    assert (shift.before, shift.after) == pytest.approx((10, 12), abs=0.1)


def test_two_shifts_are_found_in_order() -> None:
    levels = np.repeat([1.0, 3.0, 2.0], 20) + 0.05 * noise()
    assert [shift.index for shift in shifts(levels, 1.0, 0.01)] == [20, 40]


def test_noise_has_no_shift_and_no_significant_drift() -> None:
    assert drift_of(TIMES, noise(3)).p > 0.05
    assert shifts(noise(3), 1.0, 0.01) == []


def test_autocorrelation_widens_the_tests() -> None:
    values = np.cumsum(noise(1))
    centered = values - np.linspace(values[0], values[-1], 60)
    drift = drift_of(TIMES, centered)
    assert drift.inflation > 3
    assert drift.effective == pytest.approx(60 / drift.inflation)
    assert drift.p > _p_of_trend(centered, 1.0, MANY)


def test_without_autocorrelation_the_trend_is_that_of_kendall() -> None:
    values = noise(5)
    expected = scipy.stats.kendalltau(np.arange(60), values, method="asymptotic").pvalue
    assert _p_of_trend(values, 1.0, MANY) == pytest.approx(expected, rel=0.05)


def test_few_degrees_of_freedom_have_heavier_tails() -> None:
    values = np.arange(20) + noise(2, 20)
    assert _p_of_trend(values, 2.0, 3.0) > 100 * _p_of_trend(values, 2.0, MANY)
    assert _p_of_shift(60, 900.0, 1.0, 3.0) > 10 * _p_of_shift(60, 900.0, 1.0, MANY)


def test_with_many_degrees_of_freedom_a_shift_has_the_p_of_pettitt() -> None:
    expected = 2 * np.exp(-6 * 500**2 / (60**3 + 60**2))
    assert _p_of_shift(60, 500.0, 1.0, MANY) == pytest.approx(expected, rel=1e-6)


def test_ties_lower_the_variance() -> None:
    assert _variance_of_s(np.arange(10.0)) == 10 * 9 * 25 / 18
    assert _variance_of_s(np.ones(10)) == 0
    assert _p_of_trend(np.ones(10), 1.0, MANY) == 1.0


def test_the_distance_of_a_clean_step_is_the_product_of_its_lengths() -> None:
    cut, distance = _pettitt(np.repeat([0.0, 1.0], [8, 12]))
    assert (cut, distance) == (8, 8 * 12)


def test_a_shift_by_chance_has_a_p_of_at_most_one() -> None:
    assert _p_of_shift(60, 0.0, 1.0, MANY) == 1.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=FEWEST, max_size=40), st.floats(-1e3, 1e3))
def test_sign_and_origin_do_not_change_the_verdict(sample: list[float], offset: float) -> None:
    values = np.round(np.array(sample), 3)
    times = np.arange(len(values), dtype=np.float64)
    drift, scaled = drift_of(times, values), drift_of(times, -values)
    assert 0 <= drift.p <= 1
    assert drift.low <= drift.slope <= drift.high
    assert scaled.slope == -drift.slope
    assert scaled.p == pytest.approx(drift.p)
    assert drift_of(times + offset, values).slope == pytest.approx(drift.slope, rel=1e-6, abs=1e-9)
