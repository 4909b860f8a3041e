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


def test_a_case_with_several_servers_has_a_row_for_each(make: Any, tmp_path: Path) -> None:
    other = {**FACTS["server"], "url": "http://other:8000/metrics"}
    doubled = [replace(one, name=one.name.replace("server", "server2")) for one in SERIES]
    plan = [make.planned("swift", 1)]
    runs = [
        replace(run, series=(*SERIES, *doubled), facts={**FACTS, "server2": other})
        for run in make.sample_runs(plan)
    ]
    shown = server(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    assert [row[0].text for row in shown.rows] == ["swift", "swift, server 1", "swift, server 2"]
    assert [row[1].text for row in shown.rows] == [
        "http://gpu-box:8000/metrics, http://other:8000/metrics",
        "http://gpu-box:8000/metrics", "http://other:8000/metrics",
    ]  # fmt: skip
    assert [row[2].text for row in shown.rows] == ["5.00", "2.50", "2.50"]
    assert "cover all servers" in shown.note


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
        ("server2_running", "running requests, by server 2"),
        ("server2_reading_seconds", "time to read server 2's metrics"),
        ("server2gpu0_energy_joules", "server 2 GPU 0 energy"),
        ("servergpu1_energy_joules", "server GPU 1 energy"),
        ("servergpu0_power_average_watts", "server GPU 0 power, average"),
    ],
)
def test_its_series_have_names_in_words(name: str, words: str) -> None:
    assert series_label(Series.measured(name, "", [], [])) == words
