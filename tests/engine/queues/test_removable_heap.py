"""A heap whose keys can be removed and moved, compared with a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.engine.queues.removable_heap import SPARE, RemovableHeap

STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.booleans()), max_size=200)


@given(STEPS)
def test_the_first_key_is_the_lowest_rank_that_was_pushed_first(
    steps: list[tuple[int, int, bool]],
) -> None:
    heap: RemovableHeap[int, int] = RemovableHeap()
    ranks: dict[int, tuple[int, int]] = {}
    for number, (key, rank, removes) in enumerate(steps):
        if removes and key in heap:
            heap.remove(key)
            del ranks[key]
        elif not removes:
            heap.push(key, key, rank)
            ranks[key] = rank, number
        assert len(heap) == len(ranks)
        if ranks:
            assert heap.first() == min(ranks, key=lambda key: ranks[key])


def test_removed_keys_take_no_memory_for_long() -> None:
    heap: RemovableHeap[int, int] = RemovableHeap()
    heap.push(-1, -1, -1.0)
    for key in range(10 * SPARE):
        heap.push(key, key, key)
        heap.remove(key)
    assert len(heap._entries) <= 2 + SPARE


def test_an_empty_heap_has_no_first_key() -> None:
    with pytest.raises(LookupError):
        RemovableHeap[int, int]().first()
