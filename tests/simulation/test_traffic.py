"""How many requests a simulated run has."""

from __future__ import annotations

from typing import Any

import pytest
from simulated_loads import SPEC, case, scenario

from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.simulation.traffic import sized


def requests(rate: float, base: float = 10.0, **more: Any) -> int | None:
    sized_case = sized(case(rate, **more), scenario(base, **more))
    assert sized_case.scenario.duration is None
    return sized_case.scenario.requests


def test_ten_times_the_rate_are_ten_times_the_requests() -> None:
    assert requests(100.0, requests=2000) == 20_000


def test_a_duration_is_kept() -> None:
    assert requests(100.0, requests=None, duration=60.0) == 6000
    assert requests(100.0, requests=2000, duration=60.0) == 6000  # which ends before 200 s


def test_there_are_as_many_requests_as_the_highest_percentile_needs() -> None:
    assert requests(10.0, requests=50) == 662
    assert requests(10.0, requests=50, slo={"ttft_p95": 1.0}) == 130


def test_the_warm_up_grows_with_the_rate() -> None:
    asked = sized(case(100.0, warmup=8), scenario(10.0, warmup=8))
    assert asked.scenario.warmup == 80


def test_the_case_keeps_its_name_and_point() -> None:
    asked, before = sized(case(100.0), scenario(10.0)), case(100.0)
    assert (asked.name, asked.point) == (before.name, before.point)


def closed(**more: Any) -> Case:
    spec = {**SPEC, "load": {"kind": "closed", "concurrency": 4}, **more}
    return Case.of(Scenario.model_validate(spec), {})


@pytest.mark.parametrize(("asked", "made"), [(50, 662), (2000, 2000)])
def test_a_closed_loop_has_its_requests_or_as_many_as_the_percentiles_need(
    asked: int, made: int
) -> None:
    of_closed = closed(requests=asked)
    assert sized(of_closed, of_closed.scenario).scenario.requests == made


def test_a_trace_is_replayed_as_it_is() -> None:
    spec = {**SPEC, "load": {"kind": "trace", "path": "arrivals.csv"}, "requests": 5}
    asked = Case.of(Scenario.model_validate(spec), {})
    assert sized(asked, asked.scenario) is asked
