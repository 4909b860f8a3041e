"""Whether answers are right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.quality import grading
from llmbench.quality.grading import grade
from llmbench.runs.request import Expected

LETTERS = ("A", "B", "C", "D")


def number(value: float) -> Expected:
    return Expected("number", repr(value))


@pytest.mark.parametrize(
    ("text", "value", "is_right"),
    [
        ("The answer is 42.", 42, True),
        ("42", 42, True),
        ("6 times 7 is 42", 42, True),
        ("42 is 6 times 7", 42, False),
        ("-3.5", -3.5, True),
        ("10-3", 3, True),
        ("1,234,567", 1234567, True),
        ("1,2", 2, True),
        ("$1,000.50", 1000.5, True),
        ("2e3", 2000, True),
        ("0.333333333", 1 / 3, True),
        ("0.33", 1 / 3, False),
        ("0", 0, True),
        ("forty-two", 42, False),
        ("", 0, False),
    ],
)
def test_the_last_number_of_an_answer_counts(text: str, value: float, *, is_right: bool) -> None:
    assert grade(text, number(value)) is is_right


@given(st.floats(min_value=-1e9, max_value=1e9), st.sampled_from(["", "It is ", "1 and then "]))
def test_a_number_is_found_after_any_text(value: float, before: str) -> None:
    assert grade(f"{before}{value!r}.", number(value)) is True
    assert grade(f"{before}{value!r}.", number(value + 1 + abs(value))) is False


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("B", True),
        ("(B)", True),
        ("The answer is B because A is wrong", True),
        ("A, not B", False),
        ("Bob knows: C", False),
        ("b", False),
        ("", False),
    ],
)
def test_the_first_of_several_choices_counts(text: str, *, is_right: bool) -> None:
    assert grade(text, Expected("choice", "B", LETTERS)) is is_right


def test_a_longer_choice_is_not_taken_for_its_beginning() -> None:
    choices = ("New", "New York")
    assert grade("New York", Expected("choice", "New York", choices)) is True
    assert grade("New York", Expected("choice", "New", choices)) is False


@pytest.mark.parametrize(
    ("text", "is_right"), [("It is paris.", True), ("parisian", False), ("", False)]
)
def test_a_single_choice_may_stand_anywhere_in_any_case(text: str, *, is_right: bool) -> None:
    assert grade(text, Expected("choice", "Paris", ("Paris",))) is is_right


def test_a_regular_expression_may_match_anywhere() -> None:
    expected = Expected("regex", r"^\s*yes\b")
    assert (grade(" yes, it is", expected), grade("no", expected)) == (True, False)


def test_a_regular_expression_that_takes_too_long_is_not_graded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grading, "SECONDS", 0.05)
    assert grade("a" * 64 + "b", Expected("regex", r"(a+)+$")) is None


@given(st.text(), st.sampled_from(LETTERS))
def test_every_text_is_right_or_wrong(text: str, choice: str) -> None:
    assert grade(text, Expected("choice", choice, LETTERS)) in (True, False)
    assert grade(text, number(1.0)) in (True, False)
