"""The exported file has the statistics that pytest-benchmark computes from the same data."""

from __future__ import annotations

import json

import pytest
from node_sets import Nodes, of
from pytest_benchmark.stats import Stats

from llmbench.report import render
from llmbench.report.pytest_benchmark import statistics
from llmbench.runs.run_set import RunSet


@pytest.mark.parametrize("count", range(1, 12))
def test_statistics_are_those_of_pytest_benchmark(count: int) -> None:
    values = [0.1 * (7 * number % 11) + (5.0 if number == 4 else 0.0) for number in range(count)]
    expected = Stats()  # type: ignore[no-untyped-call]
    for value in values:
        expected.update(value)  # type: ignore[no-untyped-call]
    exported = statistics(tuple(values))
    assert {key: exported[key] for key in Stats.fields} == {
        key: value if isinstance(value, str) else pytest.approx(value)
        for key, value in expected.as_dict().items()  # type: ignore[no-untyped-call]
    }


def test_a_benchmark_is_a_metric_of_a_case_and_a_round_is_a_process(sample: RunSet) -> None:
    benchmarks = json.loads(render(sample, "pytest-benchmark"))["benchmarks"]
    names = [benchmark["name"] for benchmark in benchmarks]
    assert "swift[TTFT p50]" in names
    assert {benchmark["stats"]["rounds"] for benchmark in benchmarks} == {3}


def test_a_fleet_has_the_machine_of_each_case_and_what_they_share() -> None:
    one = {"ttft_p50": (0.1, 0.1)}
    exported = json.loads(render(of(Nodes("L4", one), Nodes("H100", one)), "pytest-benchmark"))
    assert exported["machine_info"]["cpu"] == {"brand_raw": None, "count": None}
    machines = [benchmark["extra_info"]["machine"] for benchmark in exported["benchmarks"]]
    assert [machine["cpu"]["brand_raw"] for machine in machines] == ["CPU of L4", "CPU of H100"]
