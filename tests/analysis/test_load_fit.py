"""The load at which the share of slow requests crosses its limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from llmbench.analysis.load_fit import crossing
from llmbench.scenario.rng import stream

LOADS = np.array([8.0, 9.0, 10.0, 11.0, 12.0, 13.0])


def shares(at: float, slope: float, loads: np.ndarray, allowed: float = 0.01) -> np.ndarray:
    """Return shares of slow requests that cross what is allowed at a load."""
    logits: np.ndarray = logit(allowed) + slope * (loads - at)
    return np.asarray(expit(logits))


@given(st.floats(9.0, 12.0), st.floats(0.3, 0.9), st.sampled_from([0.01, 0.05]))
def test_exact_shares_give_the_exact_load(at: float, slope: float, allowed: float) -> None:
    slow = 1000 * shares(at, slope, LOADS, allowed)
    found = crossing(LOADS, slow, np.full(6, 1000.0), allowed)
    assert found is not None
    assert found.estimate == pytest.approx(at, rel=1e-6)
    assert found.slope == pytest.approx(slope, rel=1e-5)


@settings(max_examples=50)
@given(st.integers(0, 1000), st.floats(0.01, 100.0))
def test_the_unit_of_the_load_does_not_matter(seed: int, unit: float) -> None:
    slow = stream(seed, "slow").binomial(500, shares(10.5, 0.8, LOADS))
    one, other = (crossing(LOADS * u, slow, np.full(6, 500), 0.01) for u in (1.0, unit))
    assert (one is None) == (other is None)
    if one and other:
        assert other.estimate == pytest.approx(unit * one.estimate, rel=1e-4)
        assert (one.low is None) == (other.low is None)


@settings(max_examples=50)
@given(st.integers(0, 1000))
def test_the_interval_contains_the_estimate(seed: int) -> None:
    slow = stream(seed, "slow").binomial(500, shares(10.5, 0.8, LOADS))
    found = crossing(LOADS, slow, np.full(6, 500), 0.01)
    if found:
        assert found.low is None or found.low <= found.estimate + 1e-9
        assert found.high is None or found.high >= found.estimate - 1e-9


def test_intervals_cover_the_load_where_runs_differ_by_more_than_chance() -> None:
    rng = stream(0, "runs")
    loads = np.tile([0.9, 1.1], 10)
    held = 0
    for _ in range(300):
        p = shares(1.0, 12.0, loads)
        slow = rng.binomial(1000, rng.beta(300 * p, 300 * (1 - p)))
        found = crossing(loads, slow, np.full(20, 1000), 0.01)
        low, high = (found.low, found.high) if found else (None, None)
        held += (low or 0.0) <= 1.0 <= (high or np.inf)
    assert 0.93 <= held / 300 <= 1


def test_the_load_is_between_runs_without_slow_requests_and_runs_of_slow_ones() -> None:
    slow = np.tile([0, 0, 531, 600], 4)
    limit = crossing(np.tile([98.0, 100.0, 101.0, 103.0], 4), slow, np.full(16, 700), 0.01)
    assert limit is not None
    assert 100 <= limit.estimate <= 101
    assert (limit.low or 0.0) <= 100
    assert (limit.high or np.inf) >= 101


@pytest.mark.parametrize(
    "slow", [[0] * 6, [5, 4, 3, 2, 1, 0]], ids=["no slow requests", "fewer at higher loads"]
)
def test_a_share_that_does_not_rise_crosses_nothing(slow: list[int]) -> None:
    assert crossing(LOADS, slow, [100] * 6, 0.01) is None


def test_few_runs_show_nothing() -> None:
    assert crossing(LOADS[:3], [0, 1, 2], [100] * 3, 0.01) is None


def test_runs_that_hardly_differ_give_no_ends() -> None:
    found = crossing(LOADS, [1, 0, 2, 0, 1, 1], [100] * 6, 0.01)
    assert found is not None
    assert (found.low, found.high) == (None, None)


def test_an_overloaded_run_counts_as_slow_from_its_first_request() -> None:
    loads, slow = [9.0, 9.5, 10.0, 10.5, 14.0, 16.0], [0, 2, 20, 100]
    mostly = crossing(loads, [*slow, 950, 990], [1000] * 6, 0.01)
    assert mostly == crossing(loads, [*slow, 1000, 1000], [1000] * 6, 0.01)


def test_a_step_is_known_no_better_than_its_width() -> None:
    found = crossing([9.0, 10.0] * 4, [0, 700] * 4, [700] * 8, 0.01)
    assert found is not None
    assert (found.low, found.high) == (9.0, 10.0)
    assert 9.0 < found.estimate < 10.0
