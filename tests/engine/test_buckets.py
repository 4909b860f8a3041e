"""The shapes of steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmbench.engine.buckets import Buckets, doublings, round_up


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_rounding_up_returns_the_next_multiple(number: int, multiple: int) -> None:
    rounded = round_up(number, multiple)
    assert rounded % multiple == 0
    assert number <= rounded < number + multiple


@given(st.integers(1, 100), st.integers(0, 10_000))
def test_doublings_end_with_the_maximum(least: int, more: int) -> None:
    sizes = doublings(least, least + more)
    assert sizes[-1] == least + more
    assert list(sizes) == sorted(set(sizes))


@given(st.integers(1, 300))
def test_a_bucket_is_the_smallest_that_fits_a_prompt(length: int) -> None:
    buckets = Buckets(doublings(32, 300), (1,), (1,))
    fitting = [size for size in buckets.prompts if size >= length]
    assert buckets.prompt(length) == fitting[0]


@given(st.lists(st.integers(1, 999), min_size=1, unique=True), st.integers(1, 10))
def test_thinning_keeps_the_largest_and_at_most_the_requested_number(
    sizes: list[int], most: int
) -> None:
    kinds = tuple(sorted(sizes))
    thin = Buckets(kinds, kinds, kinds).thinned(most)
    assert thin.prompts[-1] == kinds[-1]
    assert len(thin.prompts) <= most
    assert set(thin.prompts) <= set(kinds)
