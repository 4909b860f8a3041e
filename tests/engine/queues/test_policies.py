"""The order in which the requests of a queue get slots."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queueing import POLICIES, order, queue, sequence

LEVELS = {"policy": "priority", "levels": ["chat", "batch"]}


def chat(number: int, **given: Any) -> Any:
    return sequence(number, request_class="chat", **given)


def batch(number: int, **given: Any) -> Any:
    return sequence(number, request_class="batch", **given)


def test_first_come_first_served_is_the_order_of_arrival() -> None:
    assert order("fifo", sequence(2), sequence(0), sequence(1)) == [2, 0, 1]


def test_a_class_of_an_earlier_level_overtakes_those_of_later_ones() -> None:
    assert order(LEVELS, batch(0), chat(1), batch(2), chat(3)) == [1, 3, 0, 2]


def test_classes_without_a_level_come_last() -> None:
    assert order(LEVELS, sequence(0, request_class="other"), sequence(1), batch(2)) == [2, 0, 1]


def test_without_levels_the_classes_own_priorities_count_lower_numbers_first() -> None:
    priority = {"policy": "priority"}
    assert order(priority, batch(0), sequence(1), chat(2), batch=10, chat=-1) == [2, 1, 0]


def test_weights_are_the_relative_rates_at_which_classes_get_slots() -> None:
    weights = {"policy": "priority", "weights": {"chat": 3}}
    waiting = [*(batch(number) for number in range(4)), *(chat(number) for number in range(10, 16))]
    taken = order(weights, *waiting)
    assert ["chat" if number >= 10 else "batch" for number in taken] == [
        "batch", "chat", "chat", "chat", "batch", "chat", "chat", "chat", "batch", "batch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "expected"), [("prompt", [1, 0, 2]), ("output", [2, 0, 1]), ("both", [2, 1, 0])]
)
def test_the_shortest_comes_first(by: str, expected: list[int]) -> None:
    waiting = (
        sequence(0, prompt=4, tokens=9), sequence(1, prompt=2, tokens=10),
        sequence(2, prompt=6, tokens=1),
    )  # fmt: skip
    assert order({"policy": "shortest", "by": by}, *waiting) == expected


def test_of_equally_short_ones_the_first_that_was_sent_comes_first() -> None:
    assert order("shortest", sequence(0, sent=1.0), sequence(1, sent=0.0)) == [1, 0]


@given(
    st.sampled_from(POLICIES),
    st.lists(
        st.tuples(
            st.sampled_from(["chat", "batch", None]), st.integers(1, 9), st.integers(1, 9),
            st.sampled_from([None, 1, 2]),
        ),
        max_size=30,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_each_waiting_request_comes_once_and_withdrawn_ones_never(
    policy: dict[str, Any], drawn: list[tuple[str | None, int, int, int | None]], random: Any
) -> None:
    bounded = {**policy, "max_wait": "3 s"} if policy["policy"] != "fifo" else policy
    waiting = queue(bounded)
    sequences = [
        sequence(number, prompt=prompt, tokens=tokens, request_class=name, session=session)
        for number, (name, prompt, tokens, session) in enumerate(drawn)
    ]
    for joining in sequences:
        waiting.add(joining, 0.0)
    withdrawn = random.sample(sequences, len(sequences) // 3)
    for leaving in withdrawn:
        waiting.remove(leaving)
    taken = []
    while waiting:
        first = waiting.next(random.choice([0.0, 5.0]))
        waiting.take(first)
        taken.append(first)
    assert len(taken) == len(sequences) - len(withdrawn)
    assert {*map(id, taken), *map(id, withdrawn)} == {*map(id, sequences)}


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_queue_has_no_next(policy: dict[str, Any]) -> None:
    with pytest.raises(LookupError):
        queue(policy).next(0.0)
