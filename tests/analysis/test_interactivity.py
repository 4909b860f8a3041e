"""The interactivity front, from points whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.interactivity import (
    ASKED,
    MOST_ASKED,
    LoadPoint,
    asked_for,
    per_device,
    per_user,
    value_at,
)
from llmbench.analysis.stats import geometric_interval
from llmbench.analysis.values import Value


def curve(*loads: tuple[list[float], list[float]]) -> list[LoadPoint]:
    """A curve from the tokens/s per user and the values of each repeat, by load."""
    return [
        LoadPoint(str(load), dict(enumerate(x, 1)), dict(enumerate(y, 1)))
        for load, (x, y) in enumerate(loads)
    ]


def test_a_user_gets_the_reciprocal_of_tpot() -> None:
    assert per_user(Value(0.02, 7)) == Value(50.0, 7)
    assert per_user(Value.unavailable("no tokens")) == Value.unavailable("no tokens")
    assert per_user(Value(0.0, 7)).reason == "the TPOT is 0"


def test_throughput_is_divided_by_the_devices() -> None:
    assert per_device(Value(1000.0, 3), 4) == Value(250.0, 3)
    assert per_device(Value.unavailable("no window"), 4).reason == "no window"


def test_a_value_between_two_loads_is_interpolated_linearly() -> None:
    found = value_at(curve(([100.0], [200.0]), ([50.0], [600.0]), ([10.0], [700.0])), 75.0)
    assert (found.value, found.n, found.low) == (400.0, 1, None)


def test_the_order_of_the_loads_does_not_matter() -> None:
    loads = [([100.0], [200.0]), ([50.0], [600.0]), ([10.0], [700.0])]
    assert value_at(curve(*loads), 30.0) == value_at(curve(*reversed(loads)), 30.0)


def test_its_interval_is_that_of_the_curves_of_the_repeats() -> None:
    found = value_at(curve(([100.0, 90.0, 110.0], [200.0] * 3), ([50.0] * 3, [600.0] * 3)), 75.0)
    each = [400.0, 600 - 400 * 25 / 40, 600 - 400 * 25 / 60]
    low, high = geometric_interval(each)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.value == pytest.approx(np.prod(each) ** (1 / 3))


def test_a_measured_load_has_its_measured_value() -> None:
    assert value_at(curve(([100.0], [200.0]), ([50.0], [600.0])), 50.0).value == 600.0


@pytest.mark.parametrize("rate", [49.9, 100.1])
def test_nothing_is_extrapolated(rate: float) -> None:
    found = value_at(curve(([100.0], [200.0]), ([50.0], [600.0])), rate)
    assert found.value is None
    assert found.reason == "outside the measured range, 50 to 100 tokens/s per user"


def test_a_rate_that_one_repeat_did_not_reach_is_unavailable() -> None:
    found = value_at(curve(([100.0, 80.0], [200.0, 200.0]), ([50.0, 50.0], [600.0, 600.0])), 90.0)
    assert found.value is None
    assert found.reason == (
        "outside the measured range of 1 of 2 repeats (50 to 80 tokens/s per user)"
    )


def test_a_repeat_without_a_load_is_left_out() -> None:
    points = curve(([100.0, 90.0], [200.0, 200.0]), ([50.0], [600.0]))
    assert value_at(points, 75.0).values == (400.0,)


def test_one_load_is_no_curve() -> None:
    assert (
        value_at(curve(([100.0], [200.0])), 100.0).reason == "measured at one load; sweep the load"
    )
    assert value_at(curve(([1.0], [1.0]), ([], [])), 1.0).reason == (
        "no repeat has a value at every load"
    )


def test_values_are_asked_for_at_published_rates_and_at_round_ones_in_the_range() -> None:
    points = curve(([3000.0], [1.0]), ([150.0], [2.0]))
    assert asked_for([points]) == [20, 50, 100, 200, 500, 1000, 2000]
    assert asked_for([]) == [*ASKED]


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9))
def test_few_values_are_asked_for_all_of_them_published_or_in_the_range(rates: list[float]) -> None:
    asked = asked_for([curve(*(([rate], [1.0]) for rate in rates))])
    assert len(ASKED) <= len(asked) <= MOST_ASKED
    assert all(min(rates) <= rate <= max(rates) for rate in {*asked} - {*ASKED})


@given(
    st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e6)), min_size=2, max_size=8),
    st.floats(0, 1),
)
def test_an_interpolated_value_lies_between_measured_ones(
    points: list[tuple[float, float]], share: float
) -> None:
    rates = [rate for rate, _ in points]
    rate = min(rates) + share * (max(rates) - min(rates))
    found = value_at(curve(*(([x], [y]) for x, y in points)), min(rate, max(rates)))
    assert found.value is not None
    values = [value for _, value in points]
    assert min(values) * (1 - 1e-9) <= found.value <= max(values) * (1 + 1e-9)
