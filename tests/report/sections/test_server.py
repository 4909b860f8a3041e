"""What a server reported of itself, as a table and in the timeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.report import pages
from llmbench.report.results import Results
from llmbench.report.sections.server import server
from llmbench.report.table import Table
from llmbench.report.wording import series_label
from llmbench.runs.series import Series

TIMES = np.arange(0.0, 60.0, 0.5)
RISES = {
    "ttft": {"bounds": [0.1, 0.2], "increments": [[n, 1, 4] for n in range(1, 120)]},
    "queue_time": {"unavailable": "counter_reset: the server restarted during the run"},
    "preemptions": {"bounds": [], "increments": []},
}
FACTS = {"server": {"url": "http://gpu-box:8000/metrics", "interval": 0.5, "rises": RISES}}
SERIES = (
    Series.measured("server_reading_seconds", "s", TIMES, np.full(len(TIMES), 0.01)),
    Series.measured("server_running", "requests", TIMES, np.full(len(TIMES), 2.5)),
)


@pytest.fixture
def observed(make: Any, tmp_path: Path) -> Results:
    plan = [make.planned("swift", 1)]
    runs = [replace(run, series=SERIES, facts=FACTS) for run in make.sample_runs(plan)]
    return Results(make.store_run_set(tmp_path / "set", plan, runs))


def cells(table: Table) -> dict[str, str]:
    labels = [column.label for column in table.columns]
    return dict(zip(labels, (cell.text for cell in table.rows[0]), strict=True))


def test_a_case_shows_what_its_server_reported(observed: Results) -> None:
    shown = cells(server(observed))
    assert shown["metrics of"] == "http://gpu-box:8000/metrics"
    assert shown["running requests"] == "2.50"
    assert shown["server TTFT p50"] == "150 ms"
    assert shown["preemptions"] == "0"


def test_what_is_unavailable_has_its_reason_below(observed: Results) -> None:
    note = server(observed).note
    assert "interpolated" in note
    assert "server queue time p50" in note
    assert "counter_reset: the server restarted during the run" in note


def test_a_run_without_the_collector_has_no_such_table(results: Results) -> None:
    assert server(results).rows == ()


def test_the_page_has_a_section(observed: Results) -> None:
    assert 'id="server"' in pages.report(observed.run_set)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("server_running", "running requests, by the server"),
        ("servergpu1_energy_joules", "server GPU 1 energy"),
        ("servergpu0_power_average_watts", "server GPU 0 power, average"),
    ],
)
def test_its_series_have_names_in_words(name: str, words: str) -> None:
    assert series_label(Series.measured(name, "", [], [])) == words
