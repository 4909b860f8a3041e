"""Which server or replica gets a request: pure choices, the same everywhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.balancing import POLICIES, Choice, affinity_key
from llmbench.runs.request import Request
from llmbench.scenario.replicas import Policy

BLOCK = tuple(range(16))


@dataclass
class Servers:
    """Servers that keep their requests until they are told that one has finished."""

    count: int
    policy: Policy
    seed: int = 0
    lost: set[int] = field(default_factory=set)
    in_flight: Counter[int] = field(default_factory=Counter)

    def take(self, request: Request) -> int:
        available = [server for server in range(self.count) if server not in self.lost]
        loads = [self.in_flight[server] for server in range(self.count)]
        server = Choice(request, loads, available, self.seed).by(self.policy)
        self.in_flight[server] += 1
        return server

    def serve(self, requests: list[Request]) -> list[int]:
        """Return the server of each request, which finishes before the next."""
        servers = [self.take(request) for request in requests]
        self.in_flight.clear()
        return servers

    def one_by_one(self, requests: list[Request]) -> list[int]:
        return [self.serve([request])[0] for request in requests]


def numbered(count: int) -> list[Request]:
    return [Request(number, (1,), 1) for number in range(count)]


def turns(sessions: list[int]) -> list[Request]:
    return [Request(n, (n,), 1, session=session) for n, session in enumerate(sessions)]


policies = st.sampled_from(get_args(Policy))


def test_every_policy_has_a_choice() -> None:
    assert set(POLICIES) == set(get_args(Policy))


@given(policies, st.integers(1, 6), st.integers(0, 9), st.lists(st.integers(0, 5), max_size=40))
def test_a_seed_always_chooses_the_same(
    policy: Policy, count: int, seed: int, sessions: list[int]
) -> None:
    one, other = (Servers(count, policy, seed).serve(turns(sessions)) for _ in range(2))
    assert one == other


@given(policies, st.integers(2, 6), st.data())
def test_a_lost_server_gets_nothing(policy: Policy, count: int, data: st.DataObject) -> None:
    lost = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    chosen = Servers(count, policy, lost=lost).serve(numbered(30))
    assert not lost.intersection(chosen)


# -- round-robin -----------------------------------------------------------------------------------


def test_round_robin_goes_by_the_number_of_the_request() -> None:
    assert Servers(3, "round-robin").serve(numbered(7)) == [0, 1, 2, 0, 1, 2, 0]


@given(st.integers(2, 6), st.integers(1, 5), st.data())
def test_round_robin_spreads_the_share_of_a_lost_server_evenly(
    count: int, rounds: int, data: st.DataObject
) -> None:
    lost = {data.draw(st.integers(0, count - 1))}
    requests = numbered(rounds * count * (count - 1))
    chosen = Counter(Servers(count, "round-robin", lost=lost).serve(requests))
    assert set(chosen.values()) == {rounds * count}


# -- by load ---------------------------------------------------------------------------------------


def test_the_least_loaded_gets_the_next_request_and_of_equals_the_one_in_turn() -> None:
    servers = Servers(3, "least-loaded", in_flight=Counter({0: 2, 1: 1, 2: 1}))
    assert [servers.take(Request(number, (1,), 1)) for number in (5, 6, 7, 8)] == [2, 1, 1, 2]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 30))
def test_the_least_loaded_of_all_is_the_one_in_turn_of_those_with_the_least(
    loads: list[int], number: int
) -> None:
    everyone = range(len(loads))
    chosen = Choice(Request(number, BLOCK, 1), loads, everyone).by("least-loaded")
    in_turn = [(number + step) % len(loads) for step in everyone]
    assert chosen == next(index for index in in_turn if loads[index] == min(loads))


@given(st.integers(2, 5), st.lists(st.booleans(), max_size=60))
def test_no_server_has_two_requests_more_than_another(count: int, steps: list[bool]) -> None:
    servers = Servers(count, "least-loaded", in_flight=Counter(dict.fromkeys(range(count), 0)))
    for number, ends in enumerate(steps):
        if ends and any(servers.in_flight.values()):
            servers.in_flight[servers.in_flight.most_common(1)[0][0]] -= 1
        else:
            servers.take(Request(number, (1,), 1))
        loads = servers.in_flight.values()
        assert max(loads) - min(loads) <= 1


@given(st.integers(2, 6), st.integers(0, 9), st.data())
def test_two_choices_never_take_the_most_loaded(count: int, seed: int, data: st.DataObject) -> None:
    loads = data.draw(st.permutations(range(count)))
    server = Choice(Request(seed, (1,), 1), loads, range(count), seed).by("two-choices")
    assert loads[server] < count - 1


def test_two_choices_use_every_server_and_other_seeds_choose_others() -> None:
    one, other = (Servers(5, "two-choices", seed).one_by_one(numbered(200)) for seed in (1, 2))
    assert set(one) == set(other) == set(range(5))
    assert one != other


# -- affinity --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (Request(1, BLOCK, 1, session=7, shared=2), ("session", 7)),
        (Request(1, BLOCK, 1, shared=2), ("prefix", (0, 1))),
        (Request(1, (*BLOCK, 99), 1), ("prefix", BLOCK)),
        (Request(1, (5,), 1), ("prefix", (5,))),
    ],
)
def test_affinity_is_to_the_session_or_else_to_the_begin_of_the_prompt(
    request_: Request, key: tuple[object, ...]
) -> None:
    assert affinity_key(request_) == key


@given(st.integers(1, 6), st.lists(st.integers(0, 9), max_size=40))
def test_the_turns_of_a_session_go_to_one_server(count: int, sessions: list[int]) -> None:
    chosen = Servers(count, "affinity").one_by_one(turns(sessions))
    assert len(set(zip(sessions, chosen, strict=True))) == len(set(sessions))


@given(st.integers(2, 6), st.data())
def test_only_the_keys_of_a_lost_server_move(count: int, data: st.DataObject) -> None:
    lost, sessions = data.draw(st.integers(0, count - 1)), turns(list(range(50)))
    before = Servers(count, "affinity").one_by_one(sessions)
    after = Servers(count, "affinity", lost={lost}).one_by_one(sessions)
    moved = [b for b, a in zip(before, after, strict=True) if b != a]
    assert set(moved) <= {lost}
    assert len(moved) == before.count(lost)


def test_the_keys_of_a_lost_server_are_spread_over_the_others() -> None:
    sessions = turns(list(range(4000)))
    before = Servers(4, "affinity").one_by_one(sessions)
    after = Servers(4, "affinity", lost={2}).one_by_one(sessions)
    moved = Counter(a for b, a in zip(before, after, strict=True) if b == 2)
    assert before.count(2) == pytest.approx(1000, abs=100)
    assert [moved[server] for server in (0, 1, 3)] == pytest.approx(3 * [1000 / 3], abs=60)


@given(st.integers(1, 6), st.integers(1, 80))
def test_a_popular_key_loads_no_server_beyond_the_bound(count: int, requests: int) -> None:
    servers = Servers(count, "affinity")
    for turn in turns([1] * requests):
        servers.take(turn)
    assert max(servers.in_flight.values()) <= max(4, -(-1.25 * requests // count))
