"""The chart and the table of where the time of requests goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbench.report.results import Results
from llmbench.report.sections.latency_budget import UNREPORTED, budget_table, chart
from llmbench.report.table import Cell


@pytest.fixture
def served(make: Any, tmp_path: Path) -> Results:
    """A server whose responses report the time of prefill, but not that in the queue."""
    plan = [make.planned("swift", 1)]
    records = [replace(r, started=None, server_prefill_seconds=0.001) for r in make.serve(1)]
    report = {"client": {"round_trip": 0.0005}}
    run = make.run_of(plan[0], records, backend_report=report)
    return Results(make.store_run_set(tmp_path / "served", plan, [run]))


def cells(results: Results) -> dict[str, Cell]:
    table = budget_table(results)
    return dict(zip((column.label for column in table.columns), table.rows[0], strict=True))


def test_means_add_up_to_the_mean_of_the_whole(results: Results) -> None:
    row = cells(results)
    whole = row.pop("E2E").value
    assert sum(cell.value or 0.0 for cell in row.values()) == pytest.approx(whole)
    assert row["queue"].detail.startswith("p99 ")


def test_an_unreported_part_is_no_number(served: Results) -> None:
    assert UNREPORTED in budget_table(served).note
    assert cells(served)["prefill"].text == "1.00 ms"


def test_the_round_trip_to_a_server_is_beside_the_parts(served: Results) -> None:
    assert cells(served)["round trip"].value == 0.0005


def test_a_case_has_a_bar_of_its_parts(results: Results) -> None:
    traces = chart(results).figure.data
    names = [trace.name for trace in traces]
    assert names == ["until sent", "connecting", "queue", "prefill", "rest of TTFT", "decode"]
    assert len(traces[0].y) == len(results.measured)
