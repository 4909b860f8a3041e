"""The series of nights as a table and as charts, with the nights at which they moved."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import plotly.graph_objects as go

from llmbench.analysis.history import MIN_NIGHTS, ChangePoint, MetricHistory
from llmbench.analysis.metrics import METRICS
from llmbench.report import palette
from llmbench.report.charts import Chart, layout, safe
from llmbench.report.results import Results
from llmbench.report.table import MISSING, Cell, Column, Table, quantity, show

SAYS = (
    "Each point is a night: the median of its processes. A diamond is a night from which on the "
    "level is another; the text beside it says by how much."
)


def charts(history: Sequence[MetricHistory], results: Results) -> list[Chart]:
    """Draw each metric over the nights, a line for each case of a run set that has some."""
    colors = {case.name: case.index for case in results.cases}
    of_cases = [series for series in history if series.case in colors]
    return [
        _chart(metric, [s for s in of_cases if s.metric == metric], colors)
        for metric in dict.fromkeys(series.metric for series in of_cases)
    ]


def _chart(metric: str, drawn: Sequence[MetricHistory], colors: dict[str, int]) -> Chart:
    described = METRICS[metric]
    figure = go.Figure(
        [trace(series, colors[series.case]) for series in drawn for trace in (_line, _moves)],
        layout(
            height=320,
            xaxis={"title": {"text": "night"}, "type": "date"},
            yaxis={
                "title": {"text": f"{described.label} ({described.unit})"},
                "rangemode": "tozero",
            },
        ),
    )
    data = tuple(_nights(series) for series in drawn)
    return Chart(f"nights-{metric}", described.label, figure, SAYS, data=data)


def _line(series: MetricHistory, index: int) -> go.Scatter:
    color = palette.case_color(index)
    return go.Scatter(
        x=series.nights,
        y=series.values,
        mode="lines+markers",
        name=safe(series.case),
        meta={"case": index},
        line={"color": color, "width": 1.5, "dash": palette.case_dash(index)},
        marker={"size": 5, "color": color},
        hovertemplate=f"{safe(series.case)}, %{{x}}: %{{y:,.4~g}}<extra></extra>",
    )


def _moves(series: MetricHistory, index: int) -> go.Scatter:
    at = dict(zip(series.nights, series.values, strict=True))
    moved = series.changes or ()
    return go.Scatter(
        x=[change.began_at for change in moved],
        y=[at[change.began_at] for change in moved],
        mode="markers+text",
        text=[_percent(change) for change in moved],
        textposition="top center",
        cliponaxis=False,
        meta={"case": index},
        marker={"size": 12, "symbol": "diamond-open", "color": palette.case_color(index),
                "line": {"width": 2}},
        hovertext=[safe(_told(change)) for change in moved],
        hovertemplate=f"{safe(series.case)}: %{{hovertext}}<extra></extra>",
    )  # fmt: skip


def _nights(series: MetricHistory) -> Table:
    columns = (Column("night", numeric=False), Column("value"), Column("moved", numeric=False))
    unit = METRICS[series.metric].unit
    moved = {change.began_at: _percent(change) for change in series.changes or ()}
    rows = tuple(
        (Cell(night), quantity(value, unit), Cell(moved.get(night, "")))
        for night, value in zip(series.nights, series.values, strict=True)
    )
    return Table(series.case, columns, rows)


# -- the table -------------------------------------------------------------------------------------


def table(found: Sequence[MetricHistory]) -> Table:
    """One row a series: how many nights, where it stands, and when it moved."""
    columns = (
        *(Column(label, numeric=False) for label in ("scenario", "case", "metric")),
        *map(Column, ("nights", "median", "last")),
        Column("moved", numeric=False),
    )
    return Table("Series of nights", columns, tuple(map(_row, found)), " ".join(_notes(found)))


def _row(series: MetricHistory) -> tuple[Cell, ...]:
    metric = METRICS[series.metric]
    return (
        *map(Cell, (series.scenario, series.case, metric.label, str(len(series.nights)))),
        Cell(show(median(series.values), metric.unit)),
        Cell(show(series.values[-1], metric.unit)),
        Cell(MISSING)
        if series.changes is None
        else Cell("; ".join(map(_told, series.changes)) or "no"),
    )


def _percent(change: ChangePoint) -> str:
    return f"{100 * (change.after / change.before - 1):+.1f} %"


def _told(change: ChangePoint) -> str:
    commit = f", {change.commit[:8]}" if change.commit else ""
    return f"{_percent(change)} on {change.began_at[:10]}{commit} (p {change.p:.3f})"


def _notes(found: Sequence[MetricHistory]) -> list[str]:
    notes = []
    if any(series.changes is None for series in found):
        notes.append(f"Whether a series moved takes {MIN_NIGHTS} nights.")
    if left_out := {(s.scenario, s.case): s.left_out for s in found if s.left_out}:
        told = ", ".join(f"{count} of {case}" for (_, case), count in left_out.items())
        notes.append(f"Of another machine or scenario than the last night, and left out: {told}.")
    return notes
