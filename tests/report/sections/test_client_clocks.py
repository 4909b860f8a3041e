"""The clocks of load clients on other machines, in the report and in the JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbench.report import pages
from llmbench.report.frames import summary
from llmbench.report.results import Results
from llmbench.report.sections.client_clocks import client_clocks

OFFSETS = [
    {
        "client": 0, "node": "<ant>", "offset_seconds": -12.5, "error_bound_seconds": 0.00025,
        "drift_ppm": 1.5, "drift_error_bound_ppm": 0.25,
    },
    {
        "client": 1, "node": "bee", "offset_seconds": 0.002, "error_bound_seconds": 0.001,
        "drift_ppm": None, "drift_error_bound_ppm": None,
    },
]  # fmt: skip


@pytest.fixture
def measured(make: Any, tmp_path: Path) -> Results:
    plan = [make.planned("swift", 1)]
    facts = {"clock_offsets": OFFSETS}
    runs = [replace(run, facts=facts) for run in make.sample_runs(plan)]
    return Results(make.store_run_set(tmp_path / "set", plan, runs))


def test_each_client_has_a_row_with_its_offset_error_bound_and_drift(measured: Results) -> None:
    first, second = client_clocks(measured).rows
    assert [cell.text for cell in first] == [
        "swift-r1",
        "0",
        "<ant>",
        "-12.5 s",
        "250 µs",
        "1.5 ppm",
    ]
    assert first[-1].detail == "± 0.25"
    assert [cell.text for cell in second[:-1]] == ["swift-r1", "1", "bee", "2.00 ms", "1.00 ms"]


def test_the_drift_of_a_lost_client_is_missing_with_the_reason(measured: Results) -> None:
    drift = client_clocks(measured).rows[1][-1]
    assert drift.is_missing
    assert "lost" in drift.note


def test_the_report_shows_the_table_with_names_of_nodes_escaped(measured: Results) -> None:
    page = pages.report(measured.run_set)
    assert "Clocks of the load clients" in page
    assert "&lt;ant&gt;" in page
    assert "<ant>" not in page


def test_the_json_has_the_offsets_of_each_run(measured: Results) -> None:
    rows = summary(measured.run_set)["clock_offsets"]
    assert rows == [{"run": "swift-r1", **offset} for offset in OFFSETS]


def test_clients_on_one_machine_have_no_table(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", 1)]
    results = Results(make.store_run_set(tmp_path / "set", plan, make.sample_runs(plan)))
    assert client_clocks(results).rows == ()
