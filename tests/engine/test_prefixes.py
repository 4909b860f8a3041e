"""The longest prefix of a prompt among the tokens that slots hold."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from llmbench.engine.prefixes import NO_PREFIX, Copy, Exchange, HeldTokens, Move, PrefixCache
from llmbench.engine.scheduler import ContinuousScheduler, PrefillBudget
from llmbench.engine.sequence import Sequence
from llmbench.runs.request import Request

IDS = st.lists(st.integers(0, 2), max_size=12)


def common(one: SequenceOf[int], other: SequenceOf[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@given(st.lists(IDS, min_size=1, max_size=5), IDS, st.data())
def test_shared_prefixes_are_those_that_a_loop_over_all_slots_finds(
    slots: list[list[int]], prompt: list[int], data: st.DataObject
) -> None:
    held = HeldTokens(len(slots))
    for slot, ids in enumerate(slots):
        cut = data.draw(st.integers(0, len(ids)))
        held.replace(slot, ids[:cut], ready=cut)
        held.append(slot, ids[cut:])
    assert held.shared(prompt).tolist() == [common(ids, prompt) for ids in slots]
    assert held.ready.tolist() == [len(ids) for ids in slots]


def test_more_tokens_than_columns_make_more_columns() -> None:
    held, prompt = HeldTokens(2), range(1000)
    held.replace(0, prompt[:600], ready=600)
    held.append(0, prompt[600:])
    assert held.shared([*prompt, 7]).tolist() == [1000, 0]


class Slots:
    """Slots with the tokens that a runner would have cached in them."""

    def __init__(self, count: int) -> None:
        self.rows: list[list[int]] = [[] for _ in range(count)]

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        assert len(self.rows[source]) >= length
        self.rows[slot] = self.rows[source][:length]

    def exchange(self, first: int, second: int, length: int) -> None:
        assert max(len(self.rows[slot]) for slot in (first, second)) <= length
        self.rows[first], self.rows[second] = self.rows[second], self.rows[first]


class Simulation:
    """A scheduler with prefix reuse, whose sequences answer with tokens that are given to it."""

    def __init__(self, slots: int, budget: PrefillBudget) -> None:
        self.slots = Slots(slots)
        self.scheduler = ContinuousScheduler(slots, budget, prefixes=PrefixCache(slots))
        self.known: list[list[int]] = [[] for _ in range(slots)]

    def prefill(self) -> list[Sequence]:
        joining = self.scheduler.next_to_prefill(0.0)
        for move in self.scheduler.take_moves():
            move.run(self.slots)
        for sequence in joining:
            row = self.slots.rows[sequence.slot or 0]
            assert tuple(row[: sequence.prefilled]) == sequence.context[: sequence.prefilled]
            row[sequence.prefilled :] = sequence.context[sequence.prefilled : sequence.chunk_end]
            sequence.prefilled = sequence.chunk_end
        return joining

    def decode(self, token: int) -> None:
        """Cache the last token of each decoding sequence, and answer with a new one."""
        for slot, sequence in self.scheduler.decoding.items():
            self.slots.rows[slot] += sequence.output_ids[-1:]
            sequence.output_ids.append(token)


PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=9)
EVENTS = st.lists(st.one_of(PROMPTS, st.integers(0, 3)), max_size=40)


@given(EVENTS, st.integers(1, 4), st.sampled_from([None, 1, 3]), st.integers(1, 9))
def test_a_prompt_reuses_the_longest_prefix_in_any_slot_and_a_slot_holds_what_it_should(
    events: list[list[int] | int], slots: int, chunk: int | None, tokens: int
) -> None:
    budget = PrefillBudget(min(tokens, chunk or tokens), chunk=chunk)
    simulation = Simulation(slots, budget)
    scheduler = simulation.scheduler
    for number, event in enumerate(events):
        if isinstance(event, list):
            scheduler.add(Sequence(Request(number, tuple(event), 9), 0.0, 0.0), 0.0)
        elif event and scheduler.decoding:
            scheduler.retire(next(iter(scheduler.decoding.values())))
        best = [list(row) for row in simulation.slots.rows]
        partial = [s for s in scheduler.running.values() if not s.is_prefilled]
        joining = simulation.prefill()
        for sequence in [one for one in joining if one not in partial][:1]:
            longest = max(common(row, sequence.context[:-1]) for row in best)
            assert sequence.cached_tokens == longest
        for sequence in joining:
            if sequence.is_prefilled:
                sequence.output_ids.append(number % 2)
        if not joining:
            simulation.decode(number % 2)


def request(number: int, *prompt: int) -> Sequence:
    return Sequence(Request(number, prompt, 2), due=0.0, sent=0.0)


def finished(cache: PrefixCache, slot: int, sequence: Sequence) -> None:
    """Run a sequence whose answer is its prompt's last token, twice."""
    cache.admit(sequence, slot, cache.find(sequence), ())
    sequence.prefilled = sequence.prefill_end = len(sequence.request.prompt)
    sequence.output_ids += sequence.request.prompt[-1:] * 2
    cache.release(slot)


def moves(cache: PrefixCache, *prompt: int, free: SequenceOf[int]) -> tuple[int, tuple[Move, ...]]:
    """Return the reused tokens and the moves of a prompt that gets the first slot."""
    sequence = request(9, *prompt)
    prefix = cache.find(sequence)
    return prefix.tokens, cache.admit(sequence, 0, prefix, free)


def test_the_answer_counts_but_for_its_last_token_which_was_never_run() -> None:
    cache = PrefixCache(1)
    finished(cache, 0, request(0, 1, 2, 3))
    assert moves(cache, 1, 2, 3, 3, 3, 4, free=[]) == (4, ())


def test_at_least_one_token_is_computed() -> None:
    cache = PrefixCache(1)
    finished(cache, 0, request(0, 1, 2, 3))
    assert moves(cache, 1, 2, 3, free=[])[0] == 2


def test_a_free_slot_with_the_prefix_is_used_without_a_copy() -> None:
    cache = PrefixCache(2)
    finished(cache, 0, request(0, 1, 2, 3))
    assert moves(cache, 1, 2, 3, 3, 5, free=[1]) == (4, ())


def test_a_prefix_in_another_slot_is_copied_to_the_lowest_free_one() -> None:
    cache = PrefixCache(2)
    finished(cache, 1, request(0, 1, 2, 3))
    assert moves(cache, 1, 2, 4, free=[1]) == (2, (Copy(1, 0, 2),))


def held(slots: int) -> PrefixCache:
    """Return a cache whose slots hold [slot + 1, 7, 7], the first one used last."""
    cache = PrefixCache(slots)
    for slot in reversed(range(slots)):
        finished(cache, slot, request(slot, slot + 1, 7))
    return cache


def test_what_the_lowest_free_slot_holds_moves_to_the_least_recently_used_one() -> None:
    assert moves(held(3), 2, 7, 9, free=[1, 2]) == (2, (Copy(0, 2, 3), Copy(1, 0, 2)))


def test_a_slot_that_holds_only_the_prefix_is_exchanged() -> None:
    assert moves(held(2), 2, 7, 7, 9, free=[1]) == (3, (Exchange(1, 0, 3),))


def test_a_slot_that_holds_more_than_the_prefix_keeps_it() -> None:
    assert moves(held(2), 2, 7, 9, free=[1]) == (2, (Copy(1, 0, 2),))
    assert moves(held(2), 1, 7, 9, free=[1]) == (2, (Copy(0, 1, 3),))


def test_without_a_prefix_the_least_recently_used_slot_loses_what_it_holds() -> None:
    assert moves(held(2), 5, 5, free=[1]) == (0, (Copy(0, 1, 3),))
    assert NO_PREFIX.tokens == 0


def test_a_prompt_waits_for_a_longer_prefix_that_this_step_computes() -> None:
    scheduler = ContinuousScheduler(2, PrefillBudget(64), prefixes=PrefixCache(2))
    for number in range(2):
        scheduler.add(request(number, 1, 2, 3, 4 + number), 0.0)
    (first,) = scheduler.next_to_prefill(0.0)
    first.prefilled = first.chunk_end
    first.output_ids.append(9)
    (second,) = scheduler.next_to_prefill(0.0)
    assert (first.cached_tokens, second.cached_tokens) == (0, 3)
    assert scheduler.take_moves() == [Copy(0, 1, 3)]
