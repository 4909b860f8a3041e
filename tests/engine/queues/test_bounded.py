"""A starvation bound: who has waited for so long goes first, whatever the policy says."""

from __future__ import annotations

from typing import Any

from queueing import Simulated, order, queue, sequence

from llmbench.engine.scheduler import ContinuousScheduler

BOUNDED = {"policy": "shortest", "max_wait": "10 s"}


def test_before_the_bound_the_policy_decides() -> None:
    waiting = (sequence(0, prompt=9), sequence(1, prompt=1))
    assert order(BOUNDED, *waiting, now=9.9) == [1, 0]


def test_at_the_bound_a_request_goes_first() -> None:
    waiting = (sequence(0, prompt=9), sequence(1, prompt=1, sent=1.0))
    assert order(BOUNDED, *waiting, now=10.0) == [0, 1]


def test_several_past_the_bound_go_in_the_order_in_which_they_reached_it() -> None:
    waiting = (sequence(0, prompt=9), sequence(1, prompt=5, sent=1.0), sequence(2, sent=2.0))
    assert order(BOUNDED, *waiting, now=11.0) == [0, 1, 2]


def test_a_withdrawn_request_holds_up_nobody() -> None:
    waiting = queue(BOUNDED)
    first, second = sequence(0, prompt=9), sequence(1, sent=5.0)
    for joining in (first, second):
        joining.queued = joining.sent
        waiting.add(joining, joining.sent)
    waiting.remove(first)
    assert (waiting.next(20.0), len(waiting)) == (second, 1)


def levels(**more: Any) -> ContinuousScheduler:
    policy = {"policy": "priority", "levels": ["chat", "batch"], "preempt": True, **more}
    return ContinuousScheduler(1, queue=queue(policy))


def test_the_wait_is_the_sum_of_the_times_in_the_queue() -> None:
    preempted = sequence(0, tokens=4, request_class="batch")
    chats = [
        sequence(number, tokens=3, request_class="chat", sent=sent)
        for number, sent in ((1, 2.0), (2, 2.0), (3, 4.0))
    ]
    simulated = Simulated(levels(max_wait="5 s"))
    simulated.run([preempted, *chats])
    # it runs at 0 and 1, waits from 2, and reaches the bound at 7, when the second chat runs
    assert simulated.admitted == [0, 1, 2, 0, 3]
    assert (preempted.preemptions, preempted.waited) == (1, 6.0)


def test_who_got_a_slot_by_the_bound_keeps_it() -> None:
    late = sequence(0, tokens=5, request_class="batch")
    chats = [
        sequence(number, tokens=2, request_class="chat", sent=float(2 * number - 2))
        for number in range(1, 6)
    ]
    simulated = Simulated(levels(max_wait="3 s"))
    simulated.run([late, *chats])
    assert late.preemptions == 0
    assert simulated.admitted[:4] == [1, 2, 0, 3]
