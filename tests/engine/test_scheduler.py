"""The sequences that a step works on."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf

from hypothesis import given
from hypothesis import strategies as st

from llmbench.engine.scheduler import ContinuousScheduler, PrefillBudget, Span, StaticScheduler
from llmbench.engine.sequence import Sequence
from llmbench.runs.request import Request

NOW = 0.0
KINDS = st.sampled_from([ContinuousScheduler, StaticScheduler])


def sequence(number: int) -> Sequence:
    return Sequence(Request(number, (1,), 4), due=0.0, sent=0.0)


def filled(scheduler: ContinuousScheduler, count: int) -> list[Sequence]:
    for number in range(count):
        scheduler.add(sequence(number), NOW)
    return [joined for _ in range(count) for joined in scheduler.next_to_prefill(NOW)]


def test_sequences_get_the_lowest_free_slot_in_the_order_they_came() -> None:
    joined = filled(ContinuousScheduler(2), 3)
    assert [(s.request.id, s.slot) for s in joined] == [(0, 0), (1, 1)]


def test_a_freed_slot_goes_to_the_next_in_the_queue() -> None:
    scheduler = ContinuousScheduler(2)
    first, _ = filled(scheduler, 3)
    scheduler.retire(first)
    (third,) = scheduler.next_to_prefill(NOW)
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
    assert not scheduler.next_to_prefill(NOW)
    scheduler.add(sequence(9), NOW)
    assert not scheduler.next_to_prefill(NOW)
    scheduler.retire(only)
    assert len(scheduler.next_to_prefill(NOW)) == 1


def shared(*lengths: int, tokens: int, computed: Callable[..., float] = sum) -> int:
    budget = PrefillBudget(tokens, lambda spans: computed([span.length for span in spans]))
    together: list[Span] = []
    for length in lengths:
        if not budget.has_room(together, Span(length)):
            break
        together.append(Span(length))
    return len(together)


def padded(lengths: SequenceOf[int]) -> int:
    return len(lengths) * max(lengths)


def test_the_first_prompts_within_the_budget_share_a_step() -> None:
    assert shared(4, 4, 2, 1, tokens=10) == 3
    assert shared(4, 4, 3, 1, tokens=10) == 2  # no later prompt overtakes one that does not fit


def test_a_prompt_that_exceeds_the_budget_has_a_step_of_its_own() -> None:
    assert shared(11, 1, tokens=10) == 1
    assert shared(1, 11, tokens=10) == 1


def test_a_budget_of_one_token_runs_each_prompt_in_a_step_of_its_own() -> None:
    assert shared(1, 1, tokens=1) == 1


def test_padding_counts_and_adds_a_quarter_at_most() -> None:
    assert shared(4, 4, 4, tokens=10, computed=padded) == 2
    assert shared(3, 5, tokens=64, computed=padded) == 2  # 10 for 8
    assert shared(3, 6, tokens=64, computed=padded) == 1  # 12 for 9


def test_without_prompts_none_share_a_step() -> None:
    assert shared(tokens=10) == 0


def test_prompts_that_share_a_step_get_the_lowest_free_slots() -> None:
    scheduler = ContinuousScheduler(3, PrefillBudget(tokens=8))
    first, _, third = filled(scheduler, 3)
    scheduler.retire(third)
    scheduler.retire(first)
    for number in (3, 4, 5):
        scheduler.add(sequence(number), NOW)
    assert [(s.request.id, s.slot) for s in scheduler.next_to_prefill(NOW)] == [(3, 0), (4, 2)]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), KINDS, st.integers(1, 4))
def test_no_slot_is_given_twice_and_the_order_is_kept(
    arrivals: list[bool], slots: int, kind: type[ContinuousScheduler], together: int
) -> None:
    scheduler = kind(slots, PrefillBudget(together))
    joined: list[int] = []
    for number, arrives in enumerate(arrivals):
        if arrives:
            scheduler.add(sequence(number), NOW)
        elif scheduler.running:
            scheduler.retire(next(iter(scheduler.running.values())))
        before = dict(scheduler.running)
        new = scheduler.next_to_prefill(NOW)
        assert len(new) <= together
        assert not {joining.slot for joining in new} & before.keys()
        joined += [joining.request.id for joining in new]
        assert len(scheduler.running) <= slots
    assert joined == sorted(joined)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_no_request_joins_a_static_batch_that_is_decoding(arrivals: list[bool], slots: int) -> None:
    scheduler = StaticScheduler(slots)
    decoding = False
    for number, arrives in enumerate(arrivals):
        if arrives:
            scheduler.add(sequence(number), NOW)
        elif scheduler.running:
            scheduler.retire(next(iter(scheduler.running.values())))
        decoding = decoding and bool(scheduler.running)
        if scheduler.next_to_prefill(NOW):
            assert not decoding
        else:
            decoding = bool(scheduler.running)
