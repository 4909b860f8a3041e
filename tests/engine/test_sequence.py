"""A sequence appends tokens in chunks, up to the end of its answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmbench.engine.sequence import Sequence
from llmbench.runs.request import Request

STOP = 7


@given(
    chunks=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=8),
    wanted=st.integers(1, 20),
)
def test_chunks_give_the_same_answer_as_single_tokens(chunks: list[list[int]], wanted: int) -> None:
    by_chunk, one_by_one = (
        Sequence(Request(0, (1,), wanted), due=0.0, sent=0.0, stop_ids=frozenset({STOP}))
        for _ in range(2)
    )
    for now, chunk in enumerate(chunks):
        for token in chunk:
            if not one_by_one.is_finished:
                one_by_one.extend([token], now)
        if not by_chunk.is_finished:
            by_chunk.extend(chunk, now)
    assert by_chunk.output_ids == one_by_one.output_ids
    assert by_chunk.finish == one_by_one.finish
    assert sum(by_chunk.token_counts) == len(by_chunk.output_ids)
    assert len(by_chunk.token_times) == len(by_chunk.token_counts)
    assert set(by_chunk.token_times) == set(one_by_one.token_times)


@given(
    ids=st.lists(st.integers(0, 3), max_size=4),
    most=st.integers(1, 4),
    abandoned_at=st.none() | st.just(1.0),
    rejected=st.booleans(),
)
def test_a_sequence_is_finished_if_it_has_a_finish_reason(
    ids: list[int], most: int, abandoned_at: float | None, *, rejected: bool
) -> None:
    sequence = Sequence(Request(0, (1,), most), 0.0, 0.0, stop_ids=frozenset({3}))
    sequence.output_ids, sequence.abandoned_at, sequence.is_rejected = ids, abandoned_at, rejected
    assert sequence.is_finished == (sequence.finish != "unfinished")
