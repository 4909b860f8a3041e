"""Every chart comes with what it draws as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.report import charts
from llmbench.report.results import Results
from llmbench.report.sections.load import load_curves
from llmbench.report.sections.timeline import TABLED, timeline
from llmbench.report.table import Table


def column(table: Table, label: str) -> list[float | None]:
    place = [column.label for column in table.columns].index(label)
    return [row[place].value for row in table.rows]


@pytest.mark.parametrize("latency", ["ttft", "itl", "tpot", "e2e"])
def test_a_distribution_is_read_where_its_curve_is(results: Results, latency: str) -> None:
    chart = charts.latency_ecdf(results, latency)
    sample = np.sort(results.measured[0].pooled(latency))
    shares = np.arange(1, len(sample) + 1) / len(sample)
    expected = [sample[np.searchsorted(shares, percent / 100)] for percent in charts.SHARES]
    assert column(chart.data[0], "swift") == expected


def test_a_case_without_a_latency_says_so_in_the_table(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("whole", 1), make.planned("short", 1)]
    served = make.serve(1)
    runs = [
        make.run_of(plan[0], served),
        make.run_of(plan[1], [make.cut_short(item) for item in served]),
    ]
    found = Results(make.store_run_set(tmp_path / "set", plan, runs))
    (table,) = charts.latency_ecdf(found, "tpot").data
    assert {row[2].note for row in table.rows} == {"no measured request has this latency"}


def test_the_data_of_a_distribution_have_the_cases_that_are_drawn(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "drawn_cases", lambda cases: cases[::2])
    (table,) = charts.latency_ecdf(results, "ttft").data
    assert [column.label for column in table.columns] == ["share", "swift", "stalling"]


def test_a_rate_has_its_interval_and_every_process(results: Results) -> None:
    (table,) = charts.throughput(results, "requests_per_second").data
    estimate = results.measured[1].estimates["requests_per_second"]
    steady = [cell.value for cell in table.rows[1][1:]]
    assert steady == [estimate.value, estimate.low, estimate.high, *estimate.values]
    assert [c.label for c in table.columns] == [
        "case", "figure", "low", "high", "run 1", "run 2", "run 3",
    ]  # fmt: skip


def test_the_requests_of_a_timeline_are_some_and_say_so(results: Results) -> None:
    requests, machine, _ = timeline(results.measured[0]).data
    assert len(requests.rows) == TABLED
    assert requests.note == "50 of 65 requests, sampled evenly."
    assert [row[0].text for row in machine.rows] == [
        "requests waiting",
        "requests in progress",
        "cpu busy share",
        "memory resident",
    ]


def test_a_timeline_tells_the_request_of_each_of_its_rows(results: Results) -> None:
    figure = timeline(results.measured[1]).figure
    ids = results.measured[1].runs[0].records["request_id"].to_pylist()
    assert figure.layout.meta["requests"] == {"case": 1, "repeat": 1, "ids": ids}


def test_a_curve_against_load_has_a_row_a_point(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(f"fake, load.rate={r}", 1, {"load.rate": r}) for r in (4, 2)]
    runs = [make.run_of(item, make.serve(1)) for item in plan]
    found = Results(make.store_run_set(tmp_path / "set", plan, runs))
    chart = load_curves(found, ["e2e"])["e2e"]
    assert column(chart.data[0], "request rate (requests/s)") == [2, 4]
    assert column(chart.data[0], "E2E p99") == list(chart.figure.data[0].y)
    assert [line.meta["cases"] for line in chart.figure.data] == [[1, 0], [1, 0]]
