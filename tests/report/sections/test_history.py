"""The history as charts and as a table."""

from __future__ import annotations

from dataclasses import replace

from llmbench.analysis.history import ChangePoint, MetricHistory
from llmbench.report.results import Results
from llmbench.report.sections import history
from llmbench.report.table import MISSING

NIGHTS = tuple(f"2026-01-{day:02}T03:17:00+00:00" for day in range(1, 25))
MOVED = ChangePoint(NIGHTS[12], "abcdef0123", 0.1, 0.12, 0.001)
SWIFT = MetricHistory(
    "sample", "swift", "ttft_p50", NIGHTS, (0.1,) * 12 + (0.12,) * 12, left_out=2, changes=(MOVED,)
)
FEW = MetricHistory(
    "sample", "steady", "ttft_p50", NIGHTS[:2], (0.2, 0.2), left_out=0, changes=None
)


def test_a_metric_has_a_chart_with_one_line_per_case_in_its_color(results: Results) -> None:
    other = replace(SWIFT, metric="tpot_p50")
    ttft, tpot = history.charts([SWIFT, FEW, other], results)
    assert (ttft.title, tpot.title) == ("TTFT p50", "TPOT p50")
    lines = [trace for trace in ttft.figure.data if trace.mode == "lines+markers"]
    assert [line.name for line in lines] == ["swift", "steady"]
    assert [line.meta["case"] for line in lines] == [0, 1]
    assert lines[0].x == NIGHTS
    assert lines[0].y == SWIFT.values


def test_a_change_point_is_marked_with_its_percentage(results: Results) -> None:
    (chart,) = history.charts([SWIFT], results)
    marks = chart.figure.data[1]
    assert (marks.x, marks.y) == ((NIGHTS[12],), (0.12,))
    assert marks.text == ("+20.0 %",)
    assert marks.hovertext == ("+20.0 % on 2026-01-13, abcdef01 (p-value 0.001)",)


def test_the_data_of_a_chart_has_every_night(results: Results) -> None:
    (chart,) = history.charts([SWIFT], results)
    (table,) = chart.data
    assert len(table.rows) == len(NIGHTS)
    assert [cell.text for cell in table.rows[12]] == [NIGHTS[12], "120 ms", "+20.0 %"]
    assert table.rows[11][2].text == ""


def test_cases_that_a_run_set_lacks_are_not_drawn(results: Results) -> None:
    assert history.charts([replace(SWIFT, case="gone")], results) == []


def test_names_in_the_charts_are_not_read_as_markup(results: Results) -> None:
    hostile = replace(SWIFT, changes=(replace(MOVED, commit="<b>x</b>"),))
    (chart,) = history.charts([hostile], results)
    assert "<b>x" not in chart.figure.to_json()


def test_the_table_has_change_points_and_what_was_left_out() -> None:
    table = history.table([SWIFT, FEW])
    assert [cell.text for cell in table.rows[0]] == [
        "sample", "swift", "TTFT p50", "24", "110 ms", "120 ms",
        "+20.0 % on 2026-01-13, abcdef01 (p-value 0.001)",
    ]  # fmt: skip
    assert table.rows[1][-1].text == MISSING
    assert table.note == (
        "Change points need 20 nights. Excluded (machine or scenario differs from the last "
        "night's): 2 of swift."
    )
