"""Stamps keep what a tool knew and hide what it did not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.runs.imports.measured import as_moment, even_chunks, first_and_last


@given(st.integers(1, 50), st.integers(0, 200))
def test_tokens_are_divided_evenly_among_chunks(count: int, tokens: int) -> None:
    times, counts = even_chunks([float(n) for n in range(count)], tokens)
    assert (len(times), sum(counts)) == (count, tokens)
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 50), st.integers(0, 200))
def test_first_and_last_lose_no_token(count: int, tokens: int) -> None:
    times, counts = first_and_last(1.0, 2.0, count, tokens)
    assert sum(counts) == tokens
    assert len(times) == len(counts) == min(count, 3)
    assert min(counts) >= 0


@pytest.mark.parametrize(
    ("count", "tokens", "times", "counts"),
    [(1, 5, (1.0,), (5,)), (2, 2, (1.0, 2.0), (1, 1)), (2, 5, (1.0, 2.0), (1, 4))],
)
def test_two_chunks_have_nothing_between_them(
    count: int, tokens: int, times: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    assert first_and_last(1.0, 2.0, count, tokens) == (times, counts)


def test_chunks_between_the_first_and_the_last_have_no_known_time() -> None:
    (first, middle, last), counts = first_and_last(1.0, 2.0, 8, 8)
    assert (first, last, counts) == (1.0, 2.0, (1, 6, 1))
    assert math.isnan(middle)


def test_a_moment_is_written_in_utc() -> None:
    assert as_moment(0.5) == "1970-01-01T00:00:00+00:00"
