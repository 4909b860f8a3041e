"""The numbers of replicas that loads need, as an HTML page and for the terminal."""

from __future__ import annotations

import plotly.graph_objects as go
from rich.console import Group
from rich.text import Text

from llmbench.report import capacity, palette
from llmbench.report.charts import MARGIN_HEIGHT, Chart, axis, layout, log_axis, safe, thin
from llmbench.report.html import render_template
from llmbench.report.table import show
from llmbench.report.terminal import titled
from llmbench.simulation.answer import CapacityAnswer
from llmbench.simulation.smallest import Point

COLORS = [[0, palette.pale(palette.FAILED)], [1, palette.pale(palette.DECODE)]]
ROW_HEIGHT = 26
TERMINAL_COUNTS, DRAWN_COUNTS = 8, 24
TEXTS = 200  # cells with their share as text


def render(answer: CapacityAnswer, home: str = "") -> str:
    """Return the HTML page of an answer; ``home`` is the target of its back link, if any."""
    return render_template(
        "capacity.html.j2",
        home,
        answer=answer,
        sentences=capacity.sentences(answer),
        charts=[needed(answer), attainment(answer)],
        needed=capacity.needed(answer),
        validation=capacity.validation(answer),
        sources=capacity.sources(answer),
        fit=capacity.fit(answer),
        interval=f"{100 * answer.confidence:.0f} %",
        charted=True,
    )


def as_rich(answer: CapacityAnswer) -> Group:
    """Return the sentences and tables of an answer for the terminal."""
    tables = (
        capacity.needed(answer),
        capacity.grid(answer, TERMINAL_COUNTS),
        capacity.validation(answer),
    )
    return Group(
        Text(),
        Text(answer.name, "bold"),
        *map(Text, capacity.sentences(answer)),
        *(part for table in tables if table.rows for part in titled(table)),
    )


def needed(answer: CapacityAnswer) -> Chart:
    """Draw the smallest number of replicas by load, with its interval."""
    points = [point for point in answer.points if point.smallest]
    ends = [n for point in points for n in (_low(point), _high(answer, point))]
    figure = go.Figure(
        [_line(answer, points)],
        layout(height=280, xaxis=axis("load", type="category"), yaxis=log_axis("replicas", ends)),
    )
    caption = (
        "The smallest number of replicas that meets the objectives, and its interval with the error"
        " of the step times. An arrow: no upper end within the range."
    )
    empty = "" if points else "No number of replicas in the range meets the objectives."
    return Chart("needed", "Replicas by load", figure, caption, empty=empty)


def _line(answer: CapacityAnswer, points: list[Point]) -> go.Scatter:
    numbers = [point.smallest.replicas if point.smallest else 0 for point in points]
    above = [_high(answer, point) - n for point, n in zip(points, numbers, strict=True)]
    below = [n - _low(point) for point, n in zip(points, numbers, strict=True)]
    color = palette.case_color(0)
    return go.Scatter(
        x=[safe(capacity.load_of(point.case)) for point in points],
        y=numbers,
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={
            "size": 9,
            "color": color,
            "symbol": ["circle" if p.high is not None else "arrow-up" for p in points],
        },
        error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below,
                 "color": palette.INK, "thickness": 1.5, "width": 5},
        customdata=[capacity.interval_of(point) for point in points],
        hovertemplate="%{x}: %{y} replicas (%{customdata})<extra></extra>",
    )  # fmt: skip


def _low(point: Point) -> int:
    number = point.smallest.replicas if point.smallest else 1
    return min(number, point.low or number)


def _high(answer: CapacityAnswer, point: Point) -> int:
    number = point.smallest.replicas if point.smallest else 1
    return max(number, answer.counts[-1] if point.high is None else point.high)


def attainment(answer: CapacityAnswer) -> Chart:
    """Draw the share of requests that meet all objectives, by load and number of replicas."""
    every = capacity.common_counts(answer)
    counts = [every[index] for index in thin(len(every), DRAWN_COUNTS)]
    loads = [safe(capacity.load_of(point.case)) for point in answer.points]
    shares = [
        [{c.replicas: c.attainment for c in point.cells}[count] for count in counts]
        for point in answer.points
    ]
    figure = go.Figure(
        [_map(shares, [f"{count:,}" for count in counts], loads)],
        layout(
            height=MARGIN_HEIGHT + ROW_HEIGHT * max(4, len(loads)),
            xaxis=axis("replicas", type="category", showgrid=False),
            yaxis={"type": "category", "showgrid": False},
        ),
    )
    is_known = any(share is not None for row in shares for share in row)
    return Chart(
        "attainment",
        "Attainment",
        figure,
        "The share of requests that meet all objectives, by load and number of replicas.",
        empty="" if is_known else "The objectives are of jobs, not of requests.",
        data=(capacity.grid(answer, DRAWN_COUNTS),),
    )


def _map(shares: list[list[float | None]], counts: list[str], loads: list[str]) -> go.Heatmap:
    texts = [["" if s is None else show(s, "share") for s in row] for row in shares]
    return go.Heatmap(
        z=shares,
        x=counts,
        y=loads,
        text=texts,
        textfont={"color": palette.INK},
        texttemplate="%{text}" if len(counts) * len(loads) <= TEXTS else "",
        colorscale=COLORS,
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="%{y}, %{x} replicas: %{z:.1%}<extra></extra>",
    )
