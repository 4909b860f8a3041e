"""Stop rules of a load."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.loads.stopping import Precision, Stop
from llmbench.scenario.rng import stream

OFFSETS = np.array([0.0, 1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("stop", "sent"),
    [
        (Stop(requests=3), 3),
        (Stop(warmup=1, requests=3), 4),
        (Stop(duration=2.0), 2),
        (Stop(warmup=1, duration=2.0), 3),
        (Stop(requests=3, duration=2.0), 2),
        (Stop(min_requests=2, min_duration=3.0), 3),
        (Stop(min_requests=4, min_duration=1.0), 4),
        (Stop(min_requests=4, min_duration=3.0, requests=2), 2),
        (Stop(min_requests=4, min_duration=3.0, duration=1.0), 1),
    ],
)
def test_a_schedule_is_cut_at_the_first_maximum_or_when_both_minima_are_reached(
    stop: Stop, sent: int
) -> None:
    assert stop.count(OFFSETS) == sent


@pytest.mark.parametrize(
    "stop", [Stop(requests=6), Stop(duration=9.0), Stop(min_requests=2, min_duration=9.0)]
)
def test_a_schedule_that_is_too_short_is_recognized(stop: Stop) -> None:
    assert stop.count(OFFSETS) is None


stops = st.builds(
    Stop,
    warmup=st.integers(0, 3),
    requests=st.none() | st.integers(1, 20),
    duration=st.none() | st.floats(0.01, 20.0),
    min_requests=st.integers(0, 20),
    min_duration=st.floats(0.0, 20.0),
)


@given(st.lists(st.floats(0.001, 3.0), min_size=1, max_size=30), stops)
def test_counting_a_schedule_agrees_with_checking_each_request(
    gaps: list[float], stop: Stop
) -> None:
    offsets = np.cumsum(gaps)
    sent = len(offsets)
    first = np.inf
    for taken, due in enumerate(offsets):
        if stop.reached(taken, due - first):
            sent = taken
            break
        first = due if taken == stop.warmup else first
    assert sent == (stop.count(offsets) or len(offsets))


def test_the_error_rate_needs_a_minimum_number_of_requests() -> None:
    stop = Stop(requests=100, error_rate=0.1)
    assert not stop.has_failed(failed=19, finished=19)
    assert not stop.has_failed(failed=2, finished=20)
    assert stop.has_failed(failed=3, finished=20)


def test_without_an_error_rate_failures_do_not_end_a_load() -> None:
    assert not Stop(requests=100).has_failed(failed=100, finished=100)


@pytest.mark.parametrize(("percent", "floor"), [(50, 400), (90, 400), (99, 662)])
def test_a_percentile_of_few_values_is_not_precise(percent: float, floor: int) -> None:
    precision = Precision("ttft", percent, within=0.5)
    assert not precision.is_met([1.0] * (floor - 1))
    assert precision.is_met([1.0] * floor)


def test_autocorrelated_values_need_a_larger_sample() -> None:
    independent = stream(0, "values").normal(1.0, 0.1, 2000)
    correlated = np.repeat(independent[:20], 100)
    precision = Precision("ttft", 50, within=0.02)
    assert precision.is_met(list(independent))
    assert not precision.is_met(list(correlated))


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_a_queue_that_is_short_of_its_relaxation_time_is_never_precise(percent: float) -> None:
    precision = Precision("ttft", percent, within=0.5)
    for seed in range(20):
        services = stream(seed, "services").exponential(1.0, 2000)
        gaps = stream(seed, "gaps").exponential(1 / 0.9, 2000)  # a load of 0.9
        walk = np.cumsum(services - gaps)
        waits = walk - np.minimum.accumulate(walk)
        assert not any(precision.is_met(waits[:count] + 1) for count in range(400, 2001, 400))


@given(st.integers(0, 10_000))
def test_checks_are_a_tenth_apart(count: int) -> None:
    assert count * 1.1 < Precision.next_check(count) <= count * 1.1 + 1


@given(st.integers(0, 9), st.integers(1, 40), st.integers(1, 5))
def test_shards_add_up(warmup: int, requests: int, clients: int) -> None:
    stop = Stop(warmup, requests, min_requests=requests)
    parts = [stop.shard(index, clients) for index in range(clients)]
    assert sum(part.total or 0 for part in parts) == stop.total
    assert sum(part.warmup for part in parts) == warmup
    assert sum(part.min_requests for part in parts) == requests
