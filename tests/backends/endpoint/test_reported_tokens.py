"""Token counts that servers report, in every type, and whether they are possible."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint.reported_tokens import MAX_COUNT, ReportedTokens, whole_count
from llmbench.runs.request import Request

REQUEST = Request(0, (1, 2, 3), 4, text="three words here")


def reported(*usages: Any) -> ReportedTokens:
    tokens = ReportedTokens()
    for usage in usages:
        tokens.add(usage, None)
    return tokens


def output(*counts: Any, chunks: int = 4, limits_length: bool = True) -> int | None:
    """Return the number of output tokens that is believed of those reported in a row."""
    tokens = reported(*({"completion_tokens": count} for count in counts))
    return tokens.possible(REQUEST, chunks, limits_length=limits_length).output


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (4, 4),
        (4.0, 4),
        ("5", 5),
        (" 6.0", 6),
        (10**22, MAX_COUNT),
        (1e300, MAX_COUNT),
        (-3, 0),
        (4.5, None),
        (float("nan"), None),
        (float("inf"), None),
        ("four", None),
        ("NaN", None),
        (True, None),
        (None, None),
        ([4], None),
    ],
)
def test_a_count_is_read_from_every_type_of_number(value: Any, count: int | None) -> None:
    assert whole_count(value) == count


@given(st.integers() | st.floats() | st.text() | st.none() | st.booleans())
def test_a_count_is_none_or_bounded(value: Any) -> None:
    count = whole_count(value)
    assert count is None or 0 <= count <= MAX_COUNT


@pytest.mark.parametrize(
    ("counts", "believed"),
    [
        ((4,), 4),
        ((1, 2, 3), 3),
        ((4, None), 4),
        ((4, "?"), 4),
        ((0,), None),
        ((4, 0), None),
        ((4, 3), None),
        ((4, 0, 4), None),
        ((5,), None),
        ((5 * 10**9,), None),
        ((10**22,), None),
        ((-4,), None),
    ],
)
def test_impossible_numbers_of_output_tokens_are_not_believed(
    counts: tuple[Any, ...], believed: int | None
) -> None:
    assert output(*counts) == believed


def test_more_tokens_than_requested_are_believed_if_there_are_as_many_chunks() -> None:
    assert output(9, chunks=9) == 9


def test_a_response_without_text_may_have_no_tokens() -> None:
    assert output(0, chunks=0) == 0


def test_without_a_requested_length_long_answers_are_believed_up_to_a_million() -> None:
    assert output(50_000, limits_length=False) == 50_000
    assert output(5 * 10**9, limits_length=False) is None


@pytest.mark.parametrize(
    ("prompt", "believed"), [(3, 3), (700, 700), (0, None), (-1, None), (5 * 10**9, None)]
)
def test_impossible_numbers_of_prompt_tokens_are_not_believed(
    prompt: int, believed: int | None
) -> None:
    tokens = reported({"prompt_tokens": prompt})
    assert tokens.possible(REQUEST, 4, limits_length=True).prompt == believed


@pytest.mark.parametrize(("cached", "believed"), [(0, 0), (3, 3), (4, None), ("x", None)])
def test_a_cache_holds_no_more_than_the_prompt(cached: Any, believed: int | None) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": cached}}
    tokens = reported({"prompt_tokens": 3, **details})
    assert tokens.possible(REQUEST, 4, limits_length=True).cached == believed


def test_cached_tokens_of_llama_cpp_are_in_its_timings() -> None:
    tokens = ReportedTokens()
    tokens.add(None, {"cache_n": 7})
    assert tokens.cached == 7


@pytest.mark.parametrize("usage", [None, [], "none", 5, {"prompt_tokens_details": "none"}])
def test_usage_of_another_type_reports_nothing(usage: Any) -> None:
    assert reported(usage) == ReportedTokens()
