"""Energy, how well it is known, and what of it is prefill and decode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.report import pages
from llmbench.report.results import Results
from llmbench.report.sections import energy_tables, findings
from llmbench.report.table import Table
from llmbench.runs.series import Series

COUNTED = {
    "method": "nvml-counter", "uuid": "GPU-1", "polled_seconds": 0.02, "unavailable": None,
    "period_seconds": 0.1, "idle_watts": 60.0, "run_joules": 900.0,
}  # fmt: skip


def counter(watts: float) -> Series:
    times = np.arange(0.0, 40.0, 0.1)
    return Series.measured("gpu0_energy_joules", "J", times, watts * times)


def power(watts: float) -> Series:
    times = np.arange(0.0, 40.0, 0.1)
    values = tuple(np.full(len(times), watts))
    return Series.measured("gpu0_power_instant_watts", "W", times, values)


def cell(table: Table, label: str, row: int = 0) -> Any:
    (place,) = (n for n, column in enumerate(table.columns) if column.label == label)
    return table.rows[row][place]


@pytest.fixture
def counted(make: Any, tmp_path: Path) -> Results:
    """Three processes of a case at 300, 303 and 306 W, the power told 7 % less."""
    plan = [make.planned("swift", repeat) for repeat in (1, 2, 3)]
    runs = [
        replace(run, series=(counter(297.0 + 3 * run.repeat), power(279.0)),
                facts={"energy": {"gpu0": COUNTED}})
        for run in make.sample_runs(plan)
    ]  # fmt: skip
    return Results(make.store_run_set(tmp_path / "set", plan, runs))


def test_a_case_shows_its_energy_with_the_counters_behind_it(counted: Results) -> None:
    table = energy_tables.energy(counted)
    assert cell(table, "counters").text == "gpu0 nvml-counter"
    assert cell(table, "mean power").value == pytest.approx(303, rel=1e-4)
    assert cell(table, "idle power").value == pytest.approx(60)
    assert "allocation" in table.note


def test_the_error_budget_lists_its_parts(counted: Results) -> None:
    table = energy_tables.budget(counted)
    assert cell(table, "gain").text == "-6 to +11 %"
    assert cell(table, "update period").value == pytest.approx(0.1)
    assert 0 < cell(table, "edges").value < 0.01
    assert cell(table, "against power").value == pytest.approx(27 / 306, rel=1e-6)
    assert cell(table, "run to run").value > 0


def test_a_counter_and_a_power_that_part_are_a_finding(counted: Results) -> None:
    kinds = {finding.caveat.kind for finding in findings.find(counted)}
    assert {"energy-disagrees", "short-energy-window"} <= kinds


def test_a_run_without_counters_says_why_there_is_no_energy(results: Results) -> None:
    table = energy_tables.energy(results)
    assert len(table.columns) == 1
    assert "does not collect `energy`" in table.note
    assert energy_tables.budget(results).rows == ()


def test_the_page_shows_energy_or_the_reason(counted: Results, results: Results) -> None:
    assert "Error budget" in pages.report(counted.run_set)
    assert "does not collect `energy`" in pages.report(results.run_set)


def single(make: Any, tmp_path: Path, watts: dict[int, float]) -> Results:
    """One request at a time, with answers of some lengths."""
    plan = [
        make.planned(
            f"swift, workload.output_tokens={n}", repeat, {"workload.output_tokens": n},
            load={"kind": "closed"},
        )
        for n in watts
        for repeat in (1, 2, 3)
    ]  # fmt: skip
    served = {n: make.serve(1, per_token=0.005) for n in watts}
    runs = [
        make.run_of(p, served[p.case.point["workload.output_tokens"]],
                    series=(counter(watts[p.case.point["workload.output_tokens"]]),),
                    facts={"energy": {"gpu0": COUNTED}})
        for p in plan
    ]  # fmt: skip
    return Results(make.store_run_set(tmp_path / "single", plan, runs))


def test_decode_is_what_longer_answers_take_more(make: Any, tmp_path: Path) -> None:
    results = single(make, tmp_path, {1: 100.0, 65: 740.0})
    table = energy_tables.phases(results)
    a_request = results.measured[0].estimates["energy_joules_per_request"].value or 0.0
    assert a_request > 0
    assert cell(table, "prefill").value == pytest.approx(a_request)
    assert cell(table, "J per decoded token").value == pytest.approx(a_request * 6.4 / 64)


def test_cases_that_are_not_single_stream_are_not_split(counted: Results) -> None:
    assert energy_tables.phases(counted).rows == ()
