"""Pareto fronts of cases with intervals."""

from __future__ import annotations

import pytest

from llmbench.analysis.front import is_beaten, standings
from llmbench.analysis.values import Estimate


def about(value: float, half: float | None = None) -> Estimate:
    """An estimate with an interval of this half-width, or without one."""
    if half is None:
        return Estimate(value, 2, "too few")
    return Estimate(value, 3, None, value - half, value + half)


@pytest.mark.parametrize(
    ("one", "other", "beaten"),
    [
        (about(1, 0.1), about(2, 0.1), True),
        (about(1, 0.5), about(2, 0.5), False),  # they touch
        (about(1), about(2, 0.1), False),
        (about(1, 0.1), about(2), False),
        (about(2, 0.1), about(1, 0.1), False),
    ],
)
def test_only_an_interval_beats_an_interval(one: Estimate, other: Estimate, beaten: bool) -> None:  # noqa: FBT001 (expected)
    assert is_beaten(one, other, "higher") == beaten
    assert is_beaten(other, one, "lower") == beaten


def test_a_case_is_dominated_by_one_that_is_better_in_both_beyond_the_intervals() -> None:
    cases = {
        "fast": (about(10, 1), about(5, 0.1)),
        "slow": (about(5, 1), about(6, 0.1)),
        "near": (about(9.5, 1), about(5.05, 0.1)),
        "lean": (about(4, 1), about(1, 0.1)),
        "blind": (about(20, 1), Estimate.unavailable("not measured")),
    }
    assert standings(cases, ("higher", "lower")) == {
        "fast": "on the front",
        "slow": "dominated",
        "near": "undecided",
        "lean": "on the front",
        "blind": "unknown",
    }


def test_equal_cases_are_all_on_the_front() -> None:
    cases = {name: (about(1, 0), about(2, 0)) for name in "ab"}
    assert {*standings(cases, ("lower", "lower")).values()} == {"on the front"}
