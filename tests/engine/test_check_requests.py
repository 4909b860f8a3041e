"""The requests of a self-check fit the capacity and cross the borders in it."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from llmbench.engine.check_requests import Capacity, affordable_tokens, plan

VOCABULARY = 256
ANY = float("inf")
RAGGED = [(3, 12), (5, 9), (33, 3), (17, 8), (62, 6)]


def capacity(longest: int, slots: int = 2) -> Capacity:
    return Capacity(slots, range(1, longest + 1), longest)


def lengths(
    room: Capacity, borders: Iterable[int] = (), affordable: float = ANY
) -> list[tuple[int, int]]:
    requests = plan(room, VOCABULARY, borders, affordable)
    return [(len(request.prompt), request.max_new_tokens) for request in requests]


def test_prompts_are_ragged_and_one_answer_crosses_a_block_of_64() -> None:
    assert lengths(capacity(1000)) == RAGGED


def test_the_first_prompt_ends_with_token_0() -> None:
    first, second, *_ = plan(capacity(1000), VOCABULARY, (), ANY)
    assert first.prompt[-1] == 0
    assert second.prompt[-1] != 0


def test_requests_are_cut_to_a_short_sequence() -> None:
    assert lengths(capacity(12)) == [(3, 9), (5, 7), (10, 2), (10, 2), (10, 2)]


def test_the_shortest_sequence_is_a_prompt_of_one_token_and_one_answer() -> None:
    assert lengths(capacity(2)) == [(1, 1)] * 5


def test_prompts_end_before_and_behind_a_border_and_their_answers_behind_it() -> None:
    assert lengths(capacity(1000), [16]) == [*RAGGED, (14, 8), (18, 8)]


def test_a_border_at_the_end_of_the_capacity_is_crossed_by_an_answer() -> None:
    assert lengths(capacity(101), [100])[5:] == [(98, 3)]


def test_a_border_beyond_the_capacity_is_left_out() -> None:
    assert lengths(capacity(100), [100, 4096]) == RAGGED


def test_only_possible_prompts_are_used_and_borders_are_reached_from_the_longest() -> None:
    room = Capacity(2, (8, 128), longest=512)
    assert lengths(room, [160, 400]) == [
        (8, 12), (8, 9), (8, 3), (8, 8), (8, 6), (128, 38), (128, 42),
    ]  # fmt: skip


def test_three_requests_are_left_of_a_model_that_affords_none() -> None:
    assert lengths(capacity(1000), [512], affordable=0) == RAGGED[:3]


def test_what_is_not_affordable_is_left_out() -> None:
    assert lengths(capacity(10_000), [16, 4096], affordable=200) == [*RAGGED, (14, 8), (18, 8)]


def test_a_token_costs_two_operations_per_parameter() -> None:
    assert affordable_tokens("cpu", 1_000_000_000) == 300
    assert affordable_tokens("cuda", 1_000_000_000) == 100_000


@given(
    st.integers(2, 300),
    st.lists(st.integers(1, 300), max_size=3),
    st.lists(st.integers(1, 299), min_size=1, unique=True),
)
def test_every_request_fits(longest: int, borders: list[int], prompts: list[int]) -> None:
    possible = sorted(prompt for prompt in prompts if prompt < longest) or [1]
    for request in plan(Capacity(3, possible, longest), VOCABULARY, borders, ANY):
        assert len(request.prompt) in possible
        assert request.max_new_tokens >= 1
        assert len(request.prompt) + request.max_new_tokens <= longest
        assert all(0 <= token < VOCABULARY for token in request.prompt)
