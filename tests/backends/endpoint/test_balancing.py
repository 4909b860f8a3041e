"""Which server a request is sent to, on a clock that stands still until it is moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.balancing import Balance, Balancer, OnlyOne, Upstream, balancer
from llmbench.runs.request import Request


@dataclass
class Time:
    """A clock."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def among(
    count: int, policy: Any = "round-robin", now: Time | None = None, **fields: Any
) -> Balancer:
    servers = count + len(set(fields.get("pinned", {}).values()))
    return balancer(Balance(policy, 1.0, count, **fields), servers, now or Time())


def request(number: int, name: str | None = None) -> Request:
    return Request(number, (1,), 1, request_class=name)


def taken(chooser: Balancer, count: int, first: int = 0) -> list[int]:
    return [chooser.take(request(number)) for number in range(first, first + count)]


def test_one_server_gets_all_requests() -> None:
    chooser = among(1)
    assert isinstance(chooser, OnlyOne)
    chooser.refused(0)
    assert taken(chooser, 3) == [0, 0, 0]
    assert (chooser.is_out(0), chooser.refusals) == (False, {})


def test_requests_go_round_the_servers_by_their_number() -> None:
    assert taken(among(3), 7) == [0, 1, 2, 0, 1, 2, 0]
    assert taken(among(3), 2, first=100) == [1, 2]


@given(st.integers(2, 9), st.integers(1, 8), st.integers(1, 60))
def test_client_processes_share_the_servers_as_one_would(
    servers: int, clients: int, requests: int
) -> None:
    shards = [among(servers) for _ in range(clients)]
    chosen = [shards[number % clients].take(request(number)) for number in range(requests)]
    assert chosen == taken(among(servers), requests)


def test_looking_ahead_changes_nothing() -> None:
    chooser = among(2, "least-loaded")
    assert [chooser.peek(request(1)) for _ in range(3)] == [1, 1, 1]
    assert chooser.take(request(1)) == 1


def test_the_server_with_the_fewest_requests_in_flight_gets_the_next() -> None:
    chooser = among(3, "least-loaded")
    assert taken(chooser, 3) == [0, 1, 2]
    chooser.finished(1)
    assert taken(chooser, 2, first=3) == [1, 1]  # of equals, the one whose turn it is


def test_a_class_with_a_url_of_its_own_goes_there() -> None:
    chooser = among(2, pinned={"batch": 2})
    chosen = [chooser.take(request(n, name=(n % 2 and "batch") or "chat")) for n in range(6)]
    assert chosen == [0, 2, 0, 2, 0, 2]


def test_a_server_that_refuses_gets_no_requests_for_a_while() -> None:
    now = Time()
    chooser = among(3, now=now)
    chooser.refused(1)
    assert 1 not in taken(chooser, 30)
    now.seconds = 0.999
    assert 1 not in taken(chooser, 30)


def test_the_share_of_a_server_that_is_out_is_spread_evenly() -> None:
    chooser = among(4)
    chooser.refused(2)
    assert Counter(taken(chooser, 120)) == {0: 40, 1: 40, 3: 40}


def test_after_the_back_off_one_request_tries_again() -> None:
    now = Time()
    chooser = among(2, now=now)
    chooser.refused(0)
    now.seconds = 1.0
    assert taken(chooser, 4) == [0, 1, 1, 1]
    assert chooser.is_out(0)
    now.seconds = 2.0
    assert taken(chooser, 4) == [0, 1, 1, 1]


def test_a_server_that_accepts_again_gets_its_share_again() -> None:
    now = Time()
    chooser = among(2, now=now)
    chooser.refused(0)
    now.seconds = 1.0
    assert taken(chooser, 1) == [0]
    chooser.connected(0)
    assert not chooser.is_out(0)
    assert taken(chooser, 4) == [0, 1, 0, 1]
    assert chooser.refusals == {0: 1}


@pytest.mark.parametrize("policy", ["round-robin", "least-loaded", "two-choices", "affinity"])
def test_if_all_servers_are_out_all_are_used(policy: str) -> None:
    chooser = among(2, policy)
    chooser.refused(0)
    chooser.refused(1)
    assert set(taken(chooser, 10)) == {0, 1}


def test_a_class_whose_own_server_refuses_goes_nowhere_else() -> None:
    chooser = among(2, pinned={"batch": 2})
    chooser.refused(2)
    assert [chooser.take(request(n, name="batch")) for n in range(3)] == [2, 2, 2]
    assert chooser.refusals == {}


def test_the_root_of_a_server_lacks_the_version_of_the_api() -> None:
    address = Address(("127.0.0.1",), 80)
    assert Upstream("http://host/v1", address).root == "http://host"
    assert Upstream("https://host/llm/v1", address).root == "https://host/llm"
