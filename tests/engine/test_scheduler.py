"""The sequences that a step works on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmbench.engine.scheduler import ContinuousScheduler, StaticScheduler
from llmbench.engine.sequence import Sequence
from llmbench.runs.request import Request

KINDS = st.sampled_from([ContinuousScheduler, StaticScheduler])


def sequence(number: int) -> Sequence:
    return Sequence(Request(number, (1,), 4), due=0.0, sent=0.0)


def filled(scheduler: ContinuousScheduler, count: int) -> list[Sequence]:
    for number in range(count):
        scheduler.add(sequence(number))
    return [joined for _ in range(count) if (joined := scheduler.next_to_prefill())]


def test_sequences_get_the_lowest_free_slot_in_the_order_they_came() -> None:
    joined = filled(ContinuousScheduler(2), 3)
    assert [(s.request.id, s.slot) for s in joined] == [(0, 0), (1, 1)]


def test_a_freed_slot_goes_to_the_next_in_the_queue() -> None:
    scheduler = ContinuousScheduler(2)
    first, _ = filled(scheduler, 3)
    scheduler.retire(first)
    third = scheduler.next_to_prefill()
    assert third is not None
    assert (third.request.id, third.slot) == (2, 0)


def test_a_scheduler_without_work_is_idle() -> None:
    scheduler = ContinuousScheduler(1)
    idle = [scheduler.is_idle]
    (only,) = filled(scheduler, 1)
    idle.append(scheduler.is_idle)
    scheduler.retire(only)
    idle.append(scheduler.is_idle)
    assert idle == [True, False, True]


def test_a_static_batch_is_closed_once_the_queue_has_run_out() -> None:
    scheduler = StaticScheduler(2)
    (only,) = filled(scheduler, 1)
    assert scheduler.next_to_prefill() is None
    scheduler.add(sequence(9))
    assert scheduler.next_to_prefill() is None
    scheduler.retire(only)
    assert scheduler.next_to_prefill() is not None


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), KINDS)
def test_no_slot_is_given_twice_and_the_order_is_kept(
    arrivals: list[bool], slots: int, kind: type[ContinuousScheduler]
) -> None:
    scheduler = kind(slots)
    joined: list[int] = []
    for number, arrives in enumerate(arrivals):
        if arrives:
            scheduler.add(sequence(number))
        elif scheduler.running:
            scheduler.retire(next(iter(scheduler.running.values())))
        before = dict(scheduler.running)
        if (new := scheduler.next_to_prefill()) is not None:
            assert new.slot not in before
            joined.append(new.request.id)
        assert len(scheduler.running) <= slots
    assert joined == sorted(joined)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_no_request_joins_a_static_batch_that_is_decoding(arrivals: list[bool], slots: int) -> None:
    scheduler = StaticScheduler(slots)
    decoding = False
    for number, arrives in enumerate(arrivals):
        if arrives:
            scheduler.add(sequence(number))
        elif scheduler.running:
            scheduler.retire(next(iter(scheduler.running.values())))
        decoding = decoding and bool(scheduler.running)
        if scheduler.next_to_prefill() is not None:
            assert not decoding
        else:
            decoding = bool(scheduler.running)
