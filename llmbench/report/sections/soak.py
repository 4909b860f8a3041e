"""Long runs: each quantity over time, its slope per hour, and what drifts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from llmbench.analysis import soak
from llmbench.analysis.drift import FEWEST, Shift
from llmbench.analysis.metrics import LATENCIES, METRICS
from llmbench.analysis.soak import ALPHA, HOUR, Course, Tested
from llmbench.report import palette, table
from llmbench.report.charts import Chart, axis, layout, safe
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import Cell, Column, Table, text_columns
from llmbench.report.wording import series_label
from llmbench.units import format_duration

SIGNED = "+"
NOTE = (
    "Medians (rates and readings: means) of equal spans of time. The slope is the median of the "
    "slopes between all spans (Theil and Sen), with its 95 % interval, widened for "
    "autocorrelation. Undecided: the spans are so strongly correlated that they are worth fewer "
    f"than {soak.FEWEST_EFFECTIVE} independent ones. A drift is significant at a level of "
    f"{100 * ALPHA:g} % over all rows together, and changes the quantity by "
    f"{100 * soak.RELEVANT:g} % or more; docs/statistics.md has the measured rate of false alarms."
)
CHARTED = 12  # quantities


@dataclass(frozen=True, slots=True)
class Row:
    """The course of one quantity of one process of a case."""

    case: CaseResults
    repeat: int
    tested: Tested

    @property
    def name(self) -> str:
        """The case, with the number of the run if the case has several."""
        has_several = len(self.case.runs) > 1
        return f"{self.case.name}, run {self.repeat}" if has_several else self.case.name

    @property
    def label(self) -> str:
        """The quantity in words."""
        return label_of(self.tested.course)


def label_of(course: Course) -> str:
    """Return a quantity in words."""
    if course.series:
        return series_label(course.series)
    if course.name in LATENCIES:
        return f"{LATENCIES[course.name]} p50"
    return METRICS[course.name].label


def tested_rows(results: Results) -> list[Row]:
    """Return the course of every quantity of every long run, tested together."""
    measured = [
        (case, run.repeat, course)
        for case, run, arrays in results.processes()
        if soak.is_soak(arrays)
        for course in soak.courses(run, arrays)
    ]
    judged = soak.tested([course for *_, course in measured])
    return [Row(case, repeat, one) for (case, repeat, _), one in zip(measured, judged, strict=True)]


def as_json(results: Results) -> list[dict[str, Any]]:
    """Return one row per quantity for ``--json``; slopes are per hour."""
    return [
        {
            "case": row.case.name,
            "repeat": row.repeat,
            "quantity": row.tested.course.name,
            "unit": row.tested.course.unit,
            "level": row.tested.course.level,
            "spans": len(row.tested.course.values),
            "effective_spans": row.tested.drift and row.tested.drift.effective,
            **_drift_as_json(row.tested),
        }
        for row in tested_rows(results)
    ]


def _drift_as_json(tested: Tested) -> dict[str, Any]:
    drift = tested.drift
    slopes = (drift.slope, drift.low, drift.high) if drift else (None, None, None)
    names = ("slope_per_hour", "slope_low", "slope_high")
    return {
        **{n: s if s is None else s * HOUR for n, s in zip(names, slopes, strict=True)},
        "p": drift.p if drift else None,
        "drifts": tested.drifts,
        "undecided": tested.is_undecided,
        "shifts": [
            {"seconds": float(tested.course.times[s.index]), "before": s.before, "after": s.after}
            for s in tested.shifts
        ],
    }


# -- the table -------------------------------------------------------------------------------------


def drifts(rows: list[Row]) -> Table:
    """Return one row per quantity: its level, slope, change over the run, and verdict."""
    columns = (
        *text_columns("case", "quantity"),
        Column("level", "median over the spans"),
        Column("slope per hour", "and its 95 % interval, widened for autocorrelation"),
        Column("change over the run", "along the slope, relative to the level"),
        Column("verdict", "whether it drifts", numeric=False),
    )
    return Table("Soak", columns, tuple(map(_row, rows)), NOTE if rows else "")


def _row(row: Row) -> tuple[Cell, ...]:
    tested, course = row.tested, row.tested.course
    head = (Cell(row.name), Cell(row.label), table.reading(course.level, course.unit))
    if tested.drift is None:
        why = f"needs {FEWEST} spans with different values; has {len(course.values)}"
        return (*head, table.missing(why), table.missing(why), Cell("not tested", detail=why))
    return (*head, _slope(tested), _change(tested), Cell(_verdict(tested), detail=_detail(tested)))


def _slope(tested: Tested) -> Cell:
    assert tested.drift  # noqa: S101 (asked by the caller)
    unit, drift = tested.course.unit, tested.drift
    low, slope, high = (_signed(each * HOUR, unit) for each in (drift.low, drift.slope, drift.high))
    return Cell(slope, drift.slope * HOUR, f"{low} – {high}", unit=f"{unit}/h")


def _signed(value: float, unit: str) -> str:
    return f"{'−' if value < 0 else SIGNED}{table.reading(abs(value), unit).text}"


def _change(tested: Tested) -> Cell:
    text = f"{100 * tested.change:+.1f} %".replace("-", "−")
    return Cell(text, tested.change, unit="share")


def _verdict(tested: Tested) -> str:
    if tested.is_undecided:
        return "undecided"
    if not tested.drifts:
        return "no drift found"
    if tested.shifts:
        return "shifts" if len(tested.shifts) > 1 else "shifts once"
    return "rises" if tested.change > 0 else "falls"


def _detail(tested: Tested) -> str:
    """Return the shifts, or the effective number of spans if it is too small."""
    if tested.drift and tested.is_undecided:
        spans, effective = len(tested.course.values), tested.drift.effective
        return f"{spans} spans are worth {effective:.1f} independent ones"
    return "; ".join(_shift(tested.course, shift) for shift in tested.shifts)


def _shift(course: Course, shift: Shift) -> str:
    before, after = (table.reading(each, course.unit).text for each in (shift.before, shift.after))
    return f"after {format_duration(float(course.times[shift.index]))} from {before} to {after}"


# -- the charts ------------------------------------------------------------------------------------


def charts(rows: list[Row]) -> list[Chart]:
    """Return one chart per quantity, with one line per process."""
    by_label: dict[str, list[Row]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(row)
    return [_chart(label, of_label) for label, of_label in list(by_label.items())[:CHARTED]]


def _chart(label: str, rows: list[Row]) -> Chart:
    unit = rows[0].tested.course.unit
    figure = go.Figure(
        [*map(_line, rows), *(mark for row in rows for mark in _marks(row))],
        layout(
            height=220,
            xaxis=axis("minutes since the load began"),
            yaxis=axis(unit, rangemode="tozero"),
        ),
    )
    key = f"soak-{rows[0].tested.course.name.replace('_', '-')}"
    caption = f"{label} by span of time; a diamond marks a shift of the level."
    return Chart(key, label, figure, caption, data=(_data(label, rows),))


def _line(row: Row) -> go.Scatter:
    course, index = row.tested.course, row.case.index
    return go.Scatter(
        x=course.times / 60,
        y=course.values,
        mode="lines",
        name=safe(row.name),
        meta={"case": index},
        line={"width": 2, "color": palette.case_color(index), "dash": palette.case_dash(index)},
        hovertemplate="%{y:,.4~g} after %{x:.1f} min",
    )


def _marks(row: Row) -> Iterator[go.Scatter]:
    course, shifts = row.tested.course, row.tested.shifts
    if shifts:
        yield go.Scatter(
            x=[float(course.times[shift.index]) / 60 for shift in shifts],
            y=[shift.after for shift in shifts],
            mode="markers",
            name=safe(f"shift, {row.name}"),
            meta={"case": row.case.index},
            marker={"symbol": "diamond", "size": 9, "color": palette.INK},
            hovertemplate="shift of the level after %{x:.1f} min",
        )


def _data(label: str, rows: list[Row]) -> Table:
    columns = (*text_columns("case"), Column("minutes"), Column(label))
    cells = tuple(
        (
            Cell(row.name),
            Cell(f"{time / 60:.1f}", float(time)),
            table.reading(float(value), course.unit),
        )
        for row in rows
        for course in (row.tested.course,)
        for time, value in zip(course.times, course.values, strict=True)
    )
    return Table(f"{label} by span", columns, cells)
