"""The table of the engine's time, and its strip in the timeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from small_sets import begun, planned, run_of

from llmbench.report.frames import RunSet
from llmbench.report.results import Results
from llmbench.report.sections.engine_time import engine_time
from llmbench.report.sections.environment import machine
from llmbench.report.sections.timeline import timeline
from llmbench.runs import run_set
from llmbench.runs.series import Series

STEPS = {
    "seconds": {"prefill": 0.5, "decode": 1.25, "idle": 0.25},
    "counts": {"prefill": 2, "decode": 4, "idle": 1},
    "decoded_sequences": 6,
}
SHARES = tuple(
    Series.measured(f"engine_{activity}_percent", "% of time", [1.0, 2.0], values)
    for activity, values in (("prefill", [20, 0]), ("decode", [80, 50]), ("idle", [0, 50]))
)


def stored(folder: Path, **more: Any) -> run_set.RunSet:
    plan = planned("eager", 1)
    return replace(begun(folder, [plan]), runs=(run_of(plan, **more),))


def test_the_table_has_the_shares_and_the_mean_batch(tmp_path: Path) -> None:
    table = engine_time(Results(stored(tmp_path, backend_report={"engine_steps": STEPS})))
    (row,) = table.rows
    assert [cell.value for cell in row[1:]] == [0.25, 0.625, 0.125, 1.5]


def test_there_is_no_table_without_an_engine(tmp_path: Path) -> None:
    assert engine_time(Results(stored(tmp_path))).rows == ()


def test_the_timeline_stacks_the_activities_in_one_strip(tmp_path: Path) -> None:
    results = Results(stored(tmp_path, series=SHARES))
    chart = timeline(results.measured[0])
    areas = chart.figure.data[-3:]
    assert [(area.name, list(area.y)) for area in areas] == [
        ("prefill", [20, 0]), ("decode", [80, 50]), ("idle", [0, 50]),
    ]  # fmt: skip
    assert {area.yaxis for area in areas} == {"y4"}
    titles = [note.text for note in chart.figure.layout.annotations]
    assert titles[-1] == "engine time: prefill, decode, idle (%)"
    labels = [row[0].text for row in chart.data[1].rows]
    assert labels[2:5] == [
        "engine time in prefill",
        "engine time in decode",
        "idle time of the engine",
    ]
    assert machine(results).rows == ()


def test_exports_have_the_shares_and_the_counts_of_requests(tmp_path: Path) -> None:
    names = set(RunSet(stored(tmp_path, series=SHARES)).series["name"])
    assert names >= {"engine_idle_percent", "requests_waiting", "requests_in_progress"}
