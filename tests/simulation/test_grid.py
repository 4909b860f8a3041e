"""Ranges and lists of the command line."""

from __future__ import annotations

import pytest

from llmbench.errors import InputError
from llmbench.simulation.grid import coarse, replica_counts, swept


@pytest.mark.parametrize(
    ("text", "counts"),
    [("1..4", (1, 2, 3, 4)), ("4,1,2", (1, 2, 4)), ("7", (7,)), ("1..2,8", (1, 2, 8))],
)
def test_numbers_of_replicas_are_a_range_or_a_list(text: str, counts: tuple[int, ...]) -> None:
    assert replica_counts(text) == counts


@pytest.mark.parametrize("text", ["", "0..4", "4..1", "1...4", "two", "1.5", "1,,2", "-1..3"])
def test_other_numbers_of_replicas_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a range such as"):
        replica_counts(text)


def test_very_many_replicas_are_refused_before_they_are_listed() -> None:
    with pytest.raises(InputError, match="at most 10,000"):
        replica_counts("1..999999999")


def values(text: str) -> str:
    return swept("load.rate", text, f"--load.rate {text}").text


def test_a_range_is_geometric_and_between_integers_has_integers() -> None:
    assert values("10..1000/5") == "sweep.load.rate=[10, 32, 100, 316, 1000]"
    assert values("1..4") == "sweep.load.rate=[1, 2, 3, 4]"


def test_a_range_has_the_unit_of_its_ends() -> None:
    assert values("0.5..2 /s/3") == "sweep.load.rate=[0.5 /s, 1 /s, 2 /s]"
    assert values("60/min..240/min/3") == "sweep.load.rate=[60 /min, 120 /min, 240 /min]"


def test_what_is_no_range_is_a_list_of_values() -> None:
    assert values("10, 20/s") == "sweep.load.rate=[10, 20/s]"


@pytest.mark.parametrize("text", ["0..5", "5..2", "1..5/0", "1..5/101", "1e999..2e999"])
def test_a_bad_range_is_refused_with_its_flag(text: str) -> None:
    with pytest.raises(InputError, match=f"--load.rate {text}: expected a range"):
        values(text)


def test_ends_with_different_units_are_refused() -> None:
    with pytest.raises(InputError, match="expected one unit, found /s and /min"):
        values("1/s..60/min")


def test_the_coarse_numbers_include_both_ends_and_are_spaced_by_ratio() -> None:
    assert coarse(range(1, 65), 7) == (1, 2, 4, 8, 16, 32, 64)
    assert coarse((1, 2, 3), 12) == (1, 2, 3)
