"""The metric history as a table and as charts, with its change points."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import plotly.graph_objects as go

from llmbench.analysis.history import MIN_NIGHTS, ChangePoint, MetricHistory
from llmbench.analysis.metrics import METRICS
from llmbench.report import palette
from llmbench.report.charts import Chart, axis, layout, safe
from llmbench.report.results import Results
from llmbench.report.table import MISSING, Cell, Column, Table, quantity, show, text_columns

CAPTION = (
    "Each point is a night's median over processes. A diamond marks a change point, with the "
    "change in percent."
)


def charts(history: Sequence[MetricHistory], results: Results) -> list[Chart]:
    """Return a chart per metric over a history's nights, with a line per case of a run set."""
    colors = {case.name: case.index for case in results.cases}
    shown = [series for series in history if series.case in colors]
    return [
        _chart(metric, [s for s in shown if s.metric == metric], colors)
        for metric in dict.fromkeys(series.metric for series in shown)
    ]


def _chart(metric: str, drawn: Sequence[MetricHistory], colors: dict[str, int]) -> Chart:
    described = METRICS[metric]
    figure = go.Figure(
        [trace(series, colors[series.case]) for series in drawn for trace in (_line, _changes)],
        layout(
            height=320,
            xaxis=axis("night", type="date"),
            yaxis=axis(f"{described.label} ({described.unit})", rangemode="tozero"),
        ),
    )
    data = tuple(_nights(series) for series in drawn)
    return Chart(f"nights-{metric}", described.label, figure, CAPTION, data=data)


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


def _changes(series: MetricHistory, index: int) -> go.Scatter:
    at = dict(zip(series.nights, series.values, strict=True))
    changes = series.changes or ()
    return go.Scatter(
        x=[change.began_at for change in changes],
        y=[at[change.began_at] for change in changes],
        mode="markers+text",
        text=[_percent(change) for change in changes],
        textposition="top center",
        cliponaxis=False,
        meta={"case": index},
        marker={"size": 12, "symbol": "diamond-open", "color": palette.case_color(index),
                "line": {"width": 2}},
        hovertext=[safe(_described(change)) for change in changes],
        hovertemplate=f"{safe(series.case)}: %{{hovertext}}<extra></extra>",
    )  # fmt: skip


def _nights(series: MetricHistory) -> Table:
    columns = (*text_columns("night"), Column("value"), *text_columns("change"))
    unit = METRICS[series.metric].unit
    changes = {change.began_at: _percent(change) for change in series.changes or ()}
    rows = tuple(
        (Cell(night), quantity(value, unit), Cell(changes.get(night, "")))
        for night, value in zip(series.nights, series.values, strict=True)
    )
    return Table(series.case, columns, rows)


# -- the table -------------------------------------------------------------------------------------


def table(histories: Sequence[MetricHistory]) -> Table:
    """Return one row per metric of a case: nights, median, last value and change points."""
    columns = (
        *text_columns("scenario", "case", "metric"),
        *map(Column, ("nights", "median", "last")),
        *text_columns("change points"),
    )
    return Table("History", columns, tuple(map(_row, histories)), " ".join(_notes(histories)))


def _row(series: MetricHistory) -> tuple[Cell, ...]:
    metric, changes = METRICS[series.metric], series.changes
    return (
        *map(Cell, (series.scenario, series.case, metric.label, str(len(series.nights)))),
        Cell(show(median(series.values), metric.unit)),
        Cell(show(series.values[-1], metric.unit)),
        Cell(MISSING if changes is None else "; ".join(map(_described, changes)) or "no"),
    )


def _percent(change: ChangePoint) -> str:
    return f"{100 * (change.after / change.before - 1):+.1f} %"


def _described(change: ChangePoint) -> str:
    commit = f", {change.commit[:8]}" if change.commit else ""
    return f"{_percent(change)} on {change.began_at[:10]}{commit} (p-value {change.p:.3f})"


def _notes(histories: Sequence[MetricHistory]) -> list[str]:
    notes = []
    if any(series.changes is None for series in histories):
        notes.append(f"Change points need {MIN_NIGHTS} nights.")
    if left_out := {(s.scenario, s.case): s.left_out for s in histories if s.left_out}:
        nights = ", ".join(f"{count} of {case}" for (_, case), count in left_out.items())
        notes.append(f"Excluded (machine or scenario differs from the last night's): {nights}.")
    return notes
