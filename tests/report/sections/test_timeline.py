"""The timeline of a run, and the table of its case, with a request that its user abandoned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from small_sets import begun, planned, records, run_of

from llmbench.report.results import Results
from llmbench.report.sections import overview
from llmbench.report.sections.timeline import timeline
from llmbench.runs.record import Record
from llmbench.runs.run import records_table

GONE = Record(
    12, "measured", 0.5, 0.5, None, (1.0,), (3,), 4, 8, "abandoned", abandoned_at=2.0
)  # fmt: skip


def results(folder: Path, *more: Record) -> Results:
    plan = planned("eager", 1, abandon={"share": 0.1, "after": "1500 ms"})
    run = run_of(plan, records=records_table([*records(), *more]))
    return Results(replace(begun(folder, [plan]), runs=(run,)))


def test_the_timeline_marks_when_a_user_gave_up(tmp_path: Path) -> None:
    chart = timeline(results(tmp_path, GONE).measured[0])
    names = [trace.name for trace in chart.figure.data]
    marks = chart.figure.data[names.index("abandoned by the user")]
    assert (marks.x, marks.marker.symbol) == ((2.0,), "diamond-open")
    assert "failed or not finished" not in names
    assert "A diamond marks when the user" in chart.caption


def test_a_timeline_without_abandoned_requests_says_nothing_of_them(tmp_path: Path) -> None:
    chart = timeline(results(tmp_path).measured[0])
    assert "diamond" not in chart.caption
    assert "abandoned by the user" not in [trace.name for trace in chart.figure.data]


def test_a_run_without_requests_has_no_timeline(tmp_path: Path) -> None:
    plan = planned("eager", 1)
    run = run_of(plan, records=records_table([]))
    case = Results(replace(begun(tmp_path, [plan]), runs=(run,))).measured[0]
    assert timeline(case).empty == "The run has no records of requests."


def test_abandoned_requests_have_a_column_where_there_are_any(tmp_path: Path) -> None:
    with_any, without = (
        overview.headline(results(tmp_path / name, *more))
        for name, more in (("a", (GONE,)), ("b", ()))
    )
    labels = [column.label for column in with_any.columns]
    cell = with_any.rows[0][labels.index("abandoned")]
    assert (cell.text, cell.detail) == ("1", "3 tokens received")
    assert "abandoned" not in [column.label for column in without.columns]
