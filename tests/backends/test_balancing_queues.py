"""What the policies do to waiting times: exact queues of servers on a virtual clock."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.balancing import Choice
from llmbench.runs.request import Request
from llmbench.scenario.replicas import Policy

Job = tuple[float, float, Request]  # arrival and service time in seconds


def waits(jobs: Sequence[Job], servers: int, policy: Policy, seed: int = 0) -> list[float]:
    """Return how long each job waits for its server, which serves one at a time, in order."""
    free_at = [0.0] * servers
    in_flight: list[tuple[float, int]] = []  # end and server
    loads, waited = [0] * servers, []
    for now, service, request in jobs:
        while in_flight and in_flight[0][0] <= now:
            loads[heapq.heappop(in_flight)[1]] -= 1
        server = Choice(request, loads, range(servers), seed).by(policy)
        begins = max(now, free_at[server])
        free_at[server] = begins + service
        heapq.heappush(in_flight, (free_at[server], server))
        loads[server] += 1
        waited.append(begins - now)
    return waited


def jobs(*times: tuple[float, float]) -> list[Job]:
    return [(at, service, Request(n, (n,), 1)) for n, (at, service) in enumerate(times)]


SKEWED = jobs(*((float(n), 3.0 if n % 2 == 0 else 0.5) for n in range(6)))


def test_by_turns_all_long_jobs_may_meet_on_one_server() -> None:
    assert waits(SKEWED, 2, "round-robin") == [0, 0, 1, 0, 2, 0]


def test_by_load_a_job_goes_to_the_server_that_is_free() -> None:
    assert waits(SKEWED, 2, "least-loaded") == [0, 0, 0, 0, 0, 0]


def test_of_two_servers_two_choices_take_the_less_loaded_too() -> None:
    compared = waits(SKEWED, 2, "two-choices", seed=1)
    assert sum(compared) < sum(waits(SKEWED, 2, "round-robin"))


def test_affinity_serves_a_session_in_one_place() -> None:
    sessions = [(float(n), 2.0, Request(n, (1,), 1, session=7)) for n in range(3)]
    assert waits(sessions, 3, "affinity") == [0, 1, 2]
    assert waits(sessions, 3, "least-loaded") == [0, 0, 0]


services = st.lists(st.floats(0.1, 9), min_size=1, max_size=40)


@given(services, st.integers(1, 4), st.sampled_from(["round-robin", "least-loaded"]))
def test_equal_jobs_wait_equally_by_turns_and_by_load(
    gaps: list[float], servers: int, policy: Policy
) -> None:
    times = [sum(gaps[:n]) for n in range(len(gaps))]
    equal = jobs(*((at, 1.0) for at in times))
    assert waits(equal, servers, policy) == pytest.approx(waits(equal, servers, "round-robin"))


@given(services, st.integers(0, 99))
def test_one_server_makes_all_policies_equal(gaps: list[float], seed: int) -> None:
    times = [sum(gaps[:n]) for n in range(len(gaps))]
    mixed = jobs(*zip(times, gaps, strict=True))
    policies: list[Policy] = ["round-robin", "least-loaded", "two-choices", "affinity"]
    assert all(a == b for a, b in pairwise(waits(mixed, 1, policy, seed) for policy in policies))
