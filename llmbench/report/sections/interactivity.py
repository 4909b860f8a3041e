"""The interactivity front: its charts and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from llmbench.analysis.interactivity import value_at
from llmbench.analysis.metrics import METRICS
from llmbench.analysis.values import Estimate
from llmbench.report import palette, table
from llmbench.report.charts import LEGEND, Chart, axis, layout, log_axis, safe, whiskers
from llmbench.report.interactivity import AGAINST, COSTS, THROUGHPUT, Line, lines, rate_of, rates
from llmbench.report.results import Results
from llmbench.report.table import Cell, Column, Table
from llmbench.report.wording import capitalized

PER_USER = "tokens/s per user"
DECADE = 10.0  # the span, as a factor, beyond which an axis is logarithmic
ROOM = 1.1  # for the label of the last point, as a factor
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
CAPTION = (
    "One line per backend and setting, one point per load, labeled with the rate or the number of "
    "concurrent requests. Tokens/s per user are 1 / TPOT p50. Whiskers are intervals over "
    "processes; right and {better} is better. An axis is logarithmic if its values span over a "
    "decade."
)
NOTE = (
    "Interpolated linearly between the nearest loads of each process, with the t interval over "
    "processes (a 95 % interval from 8 processes on). Nothing is extrapolated."
)


def interactivity(results: Results) -> list[tuple[Chart, Table]]:
    """Draw throughput per device, energy and cost against tokens/s per user.

    Each has the table of its values at round tokens/s per user, which is empty without several
    loads. There is no chart of what no case measured, and none without a sweep.
    """
    drawn = lines(results)
    charts = [(_chart(drawn, metric), asked_table(drawn, metric)) for metric in AGAINST]
    return [(chart, asked) for chart, asked in charts if not chart.empty]


def _chart(drawn: Sequence[Line], metric: str) -> Chart:
    title = f"{_title(drawn, metric)} against {PER_USER}"
    traces = [_trace(number, line, metric) for number, line in enumerate(drawn)]
    users = [rate for trace in traces for rate in trace.x]
    values = [value for trace in traces for value in trace.y]
    figure = go.Figure(
        [trace for trace in traces if trace.x],
        layout(
            height=400,
            showlegend=len(drawn) > 1,
            legend=LEGEND,
            xaxis=_axis(PER_USER, users, range=[0.0, ROOM * max(users, default=1.0)]),
            yaxis=_axis(_label(drawn, metric), values, rangemode="tozero"),
        ),
    )
    better = "up" if metric == THROUGHPUT else "down"
    empty = "" if figure.data else "No case has both values."
    caption, data = CAPTION.format(better=better), (points_table(drawn, metric),)
    return Chart(f"interactivity-{metric}", title, figure, caption, empty=empty, data=data)


def _axis(title: str, values: Sequence[float], **linear: Any) -> dict[str, Any]:
    """Return a logarithmic axis if the values span over DECADE, or else one with ``linear``."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    is_log = low > 0 and high / low > DECADE
    return log_axis(title, values) if is_log else axis(title, **linear)


def _label(drawn: Iterable[Line], metric: str) -> str:
    """Return what is on the y-axis: ``output tokens/s per GPU`` if all lines have GPUs."""
    if metric != THROUGHPUT:
        unit = METRICS[metric].unit
        return METRICS[metric].label + (f" ({unit})" if unit != "currency" else "")
    return f"output tokens/s per {' or '.join(sorted({line.devices.kind for line in drawn}))}"


def _title(drawn: Iterable[Line], metric: str) -> str:
    return capitalized(_label(drawn, metric))


def _trace(number: int, line: Line, metric: str) -> go.Scatter:
    known = [
        (at, case.index, x, y)
        for at, case in line.cases
        for x, y in [(rate_of(case), line.against(case, metric))]
        if x.value is not None and y.value is not None
    ]
    name, color = safe(line.name), palette.case_color(number)
    has_loads = len(line.cases) > 1
    return go.Scatter(
        x=[x.value for *_, x, _ in known],
        y=[y.value for *_, y in known],
        meta={"cases": [index for _, index, _, _ in known]},
        name=name,
        mode="lines+markers+text",
        text=[safe(_short(at)) if has_loads else "" for at, *_ in known],
        hovertext=[f"{name}, {safe(_short(at))}" if has_loads else name for at, *_ in known],
        textposition="bottom left" if number % 2 else "top right",
        textfont={"color": color},
        cliponaxis=False,
        line={"color": color, "width": 2},
        marker={"size": 8, "symbol": SYMBOLS[number % len(SYMBOLS)]},
        error_x=_whiskers([x for *_, x, _ in known], color),
        error_y=_whiskers([y for *_, y in known], color),
        hovertemplate=f"%{{hovertext}}<br>%{{x:.4~g}} {PER_USER}<br>%{{y:.4~g}}<extra></extra>",
    )


def _short(load: str) -> str:
    """Return the label of a load: ``4/s``, or the number of concurrent requests."""
    return load.removeprefix("concurrency ")


def _whiskers(estimates: Sequence[Estimate], color: str) -> dict[str, Any] | None:
    drawn = [bars for one in estimates if (bars := whiskers(one))]
    if not drawn or len(drawn) < len(estimates):
        return None
    ends = {key: [bars[key][0] for bars in drawn] for key in ("array", "arrayminus")}
    return {**drawn[0], **ends, "color": color, "width": 4}


# -- tables ----------------------------------------------------------------------------------------


def points_table(drawn: Sequence[Line], metric: str) -> Table:
    """Return the measured points, one row per case."""
    label = _label(drawn, metric)
    columns = (*table.text_columns("backend", "load"), Column(PER_USER), Column(label))
    made = tuple(
        (
            Cell(line.name),
            Cell(at),
            _cell(rate_of(case), ""),
            _cell(line.against(case, metric), metric),
        )
        for line in drawn
        for at, case in line.cases
    )
    return Table(f"{_title(drawn, metric)} against {PER_USER}", columns, made)


def asked_table(drawn: Sequence[Line], metric: str) -> Table:
    """Return the values at round tokens/s per user, one row per backend and setting."""
    asked = rates(drawn, metric)
    columns = (*table.text_columns("backend"), *(Column(f"at {rate:g}/s") for rate in asked))
    made = tuple(
        (Cell(line.name), *(_cell(value_at(line.points(metric), rate), metric) for rate in asked))
        for line in drawn
        if len(line.cases) > 1
    )
    title = f"{_title(drawn, metric)} at fixed {PER_USER}"
    return Table(title, columns, made, " ".join((NOTE, *table.reasons(made))))


def _cell(value: Estimate, metric: str) -> Cell:
    unit = METRICS[metric].unit if metric in COSTS else ""
    return table.of_value(value, unit)
