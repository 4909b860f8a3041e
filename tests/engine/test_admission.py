"""Who gets a place, under every policy: slots and KV tokens, work conservation, no starvation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queueing import POLICIES, Simulated, queue, sequence

from llmbench.engine.prefixes import Prefix
from llmbench.engine.scheduler import ContinuousScheduler, PrefillBudget, StaticScheduler
from llmbench.engine.sequence import Sequence
from llmbench.errors import InputError

ARRIVALS = st.lists(
    st.tuples(
        st.floats(0, 20), st.sampled_from(["chat", "batch", None]), st.integers(1, 8),
        st.integers(1, 8), st.sampled_from([None, 1, 2]),
    ),
    max_size=25,
)  # fmt: skip
LOADS = st.tuples(ARRIVALS, st.integers(1, 4), st.none() | st.integers(16, 40))
Load = tuple[list[tuple[float, str | None, int, int, int | None]], int, int | None]
ALL = pytest.mark.parametrize("policy", POLICIES, ids=str)
UNLIMITED = PrefillBudget(1_000_000, lambda _: 0.0)


def scheduler_of(policy: dict[str, Any], load: Load, budget: PrefillBudget) -> ContinuousScheduler:
    return ContinuousScheduler(load[1], budget, queue(policy), kv_tokens=load[2])


def sequences(load: Load) -> list[Sequence]:
    return [
        sequence(
            number, sent=sent, request_class=name, prompt=prompt, tokens=tokens, session=session
        )
        for number, (sent, name, prompt, tokens, session) in enumerate(load[0])
    ]


@dataclass
class Checked(Simulated):
    """A simulated engine that calls ``check`` after each step."""

    check: Callable[[Checked], None] = lambda _: None

    def step(self) -> None:
        super().step()
        self.check(self)


@ALL
@given(LOADS)
def test_no_slot_and_no_kv_token_is_leaked_or_given_twice(
    policy: dict[str, Any], load: Load
) -> None:
    _, slots, kv_tokens = load

    def check(simulated: Checked) -> None:
        running = simulated.scheduler.running
        assert all(waiting.slot == slot for slot, waiting in running.items())
        assert running.keys() <= set(range(slots))
        used = sum(waiting.most_tokens for waiting in running.values())
        assert used <= (inf if kv_tokens is None else kv_tokens)

    scheduler = scheduler_of(policy, load, PrefillBudget(12))
    simulated = Checked(scheduler, check=check)
    simulated.run(sequences(load))
    assert sorted(done.request.id for done in simulated.finished) == list(range(len(load[0])))
    assert all(len(done.output_ids) == done.request.max_new_tokens for done in simulated.finished)
    whole = [sequence(9_000 + slot, sent=simulated.now) for slot in range(slots)]
    for joining in whole:
        scheduler.add(joining, simulated.now)
    while scheduler.waiting:
        assert scheduler.next_to_prefill(simulated.now)
    assert sorted(scheduler.running) == list(range(slots))


@ALL
@given(LOADS)
def test_nothing_waits_while_the_next_one_has_a_place(policy: dict[str, Any], load: Load) -> None:
    scheduler = scheduler_of(policy, load, UNLIMITED)
    for joining in sequences(load):
        scheduler.add(joining, 0.0)
    while not scheduler.is_idle:
        scheduler.next_to_prefill(0.0)
        if scheduler.waiting:
            used = sum(other.most_tokens for other in scheduler.running.values())
            needs = scheduler.waiting.next(0.0).most_tokens
            assert len(scheduler.running) == load[1] or used + needs > (load[2] or inf)
        scheduler.retire(next(iter(scheduler.running.values())))


class Watched(ContinuousScheduler):
    """A scheduler that checks at each admission that nobody past the bound is passed over."""

    bound = 4.0

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.in_queue: dict[int, Sequence] = {}
        self.protected: set[int] = set()

    def add(self, sequence: Sequence, now: float) -> None:
        super().add(sequence, now)
        self.in_queue[sequence.request.id] = sequence

    def _admit(self, sequence: Sequence, prefix: Prefix, now: float) -> None:
        longest = max(other.wait(now) for other in self.in_queue.values())
        if longest >= self.bound:
            assert sequence.wait(now) == longest
            self.protected.add(sequence.request.id)
        del self.in_queue[sequence.request.id]
        super()._admit(sequence, prefix, now)

    def _preempt(self, sequence: Sequence, now: float) -> None:
        assert sequence.request.id not in self.protected
        super()._preempt(sequence, now)


@ALL
@given(LOADS)
def test_nobody_past_the_bound_is_overtaken_or_preempted(
    policy: dict[str, Any], load: Load
) -> None:
    """A wait is max_wait, and then the time until those that run and those before it are done."""
    if policy["policy"] == "fifo":
        return
    bounded = queue({**policy, "max_wait": f"{Watched.bound} s"})
    scheduler = Watched(load[1], UNLIMITED, bounded, kv_tokens=load[2])
    Simulated(scheduler).run(sequences(load))


@ALL
@given(LOADS)
def test_the_same_arrivals_get_the_same_decisions(policy: dict[str, Any], load: Load) -> None:
    runs = [Simulated(scheduler_of(policy, load, PrefillBudget(12))) for _ in range(2)]
    for simulated in runs:
        simulated.run(sequences(load))
    assert runs[0].admitted == runs[1].admitted
    assert [s.token_times for s in runs[0].finished] == [s.token_times for s in runs[1].finished]


@pytest.mark.parametrize("kind", [ContinuousScheduler, StaticScheduler])
def test_running_requests_have_at_most_the_budget_of_kv_tokens(
    kind: type[ContinuousScheduler],
) -> None:
    simulated = Simulated(kind(4, UNLIMITED, kv_tokens=20))
    simulated.run(sequence(number, prompt=6, tokens=2) for number in range(5))
    assert [done.token_times for done in simulated.finished] == [
        [0.0, 1.0], [0.0, 1.0], [2.0, 3.0], [2.0, 3.0], [4.0, 5.0],
    ]  # fmt: skip


def test_nobody_overtakes_a_request_that_waits_for_kv_tokens() -> None:
    simulated = Simulated(ContinuousScheduler(4, UNLIMITED, kv_tokens=20))
    lengths = [10, 15, 1]
    simulated.run(sequence(n, prompt=length, tokens=2) for n, length in enumerate(lengths))
    assert simulated.admitted == [0, 1, 2]
    assert simulated.finished[-1].token_times == [2.0, 3.0]


def test_a_request_that_exceeds_the_whole_budget_is_refused_at_once() -> None:
    scheduler = ContinuousScheduler(1, kv_tokens=20)
    with pytest.raises(InputError, match=r"^engine\.kv_tokens: .* 21 tokens .* 20"):
        scheduler.add(sequence(0, prompt=19, tokens=2), 0.0)
