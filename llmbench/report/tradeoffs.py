"""Speed, memory and energy against quality: what a case costs for what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from llmbench.metrics import METRICS
from llmbench.report import palette
from llmbench.report.by_case import by_case, metric_column
from llmbench.report.cells import show
from llmbench.report.charts import Chart, layout, safe
from llmbench.report.results import CaseResults, Results

__all__ = ["frontier", "pareto"]

QUALITY = "kl_divergence"
COSTS = ("output_tokens_per_second", "memory_weights_bytes")
ENERGY = "energy_joules_per_output_token"

Point = tuple[float, float]


def frontier(points: Sequence[Point], better: str) -> list[Point]:
    """Give the points that no other beats, by their cost (``higher`` or ``lower`` is better).

    A point is a cost and a divergence, of which less is better; they come in order of divergence.
    """
    sign = -1 if better == "higher" else 1
    best: list[Point] = []
    for cost, divergence in sorted(points, key=lambda point: (point[1], sign * point[0])):
        if not best or sign * cost < sign * best[-1][0]:
            best.append((cost, divergence))
    return best


def pareto(results: Results) -> Chart:
    """Draw each case by what it costs and how far its outputs are from the reference's."""
    known = [c for c in results.measured if c.estimates[QUALITY].value is not None]
    metered = [case for case in known if case.estimates[ENERGY].value is not None]
    costs = (*COSTS, ENERGY) if metered else COSTS
    figure = make_subplots(rows=1, cols=len(costs), shared_yaxes=True, horizontal_spacing=0.08)
    for column, cost in enumerate(costs, start=1):
        drawn = [case for case in known if case.estimates[cost].value is not None]
        points = [(_value(case, cost), _value(case, QUALITY)) for case in drawn]
        figure.add_trace(_line(frontier(points, METRICS[cost].better)), row=1, col=column)
        for case in drawn:
            figure.add_trace(_mark(case, cost), row=1, col=column)
        axis = {"title": {"text": f"{METRICS[cost].label} ({METRICS[cost].unit})"}}
        figure.update_xaxes(rangemode="tozero", **axis, row=1, col=column)
    unit = f"KL divergence from the reference ({METRICS[QUALITY].unit})"
    figure.update_layout(layout(height=360, yaxis={"title": {"text": unit}, "rangemode": "tozero"}))
    says = (
        "Lower says more of what the reference says; right is faster in the first panel, left is "
        f"smaller in the second{_energy_says(metered)} The dashed line joins the cases that no "
        "other beats."
    )
    reasons = {case.estimates[QUALITY].reason or "" for case in results.measured}
    empty = "" if known else f"Not known: {'; '.join(sorted(reasons))}."
    columns = [metric_column(name) for name in (QUALITY, *COSTS)]
    data = (by_case("Speed and memory against quality", results.measured, columns),)
    return Chart("pareto", data[0].title, figure, says, empty=empty, data=data)


def _energy_says(metered: Sequence[CaseResults]) -> str:
    if metered:
        return ", and takes less energy in the third."
    return "; no energy is drawn, since none of these cases has a figure for it."


def _value(case: CaseResults, metric: str) -> float:
    return case.estimates[metric].value or 0.0


def _line(points: Sequence[Point]) -> go.Scatter:
    return go.Scatter(
        x=[cost for cost, _ in points],
        y=[divergence for _, divergence in points],
        mode="lines",
        line={"color": palette.MUTED, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )


def _mark(case: CaseResults, cost: str) -> go.Scatter:
    told = (*COSTS, ENERGY, QUALITY, "perplexity_ratio", "top1_agreement")
    lines = [f"{METRICS[name].label}: {_shown(case, name)}" for name in told]
    marker: dict[str, Any] = {"size": 12, "color": palette.case_colour(case.index)}
    return go.Scatter(
        x=[_value(case, cost)],
        y=[_value(case, QUALITY)],
        name=safe(case.name),
        meta={"case": case.index},
        mode="markers+text",
        text=[safe(case.name)],
        textposition="top center",
        cliponaxis=False,
        marker=marker,
        hovertemplate="<br>".join([f"<b>{safe(case.name)}</b>", *lines]) + "<extra></extra>",
    )


def _shown(case: CaseResults, metric: str) -> str:
    value = case.estimates[metric].value
    return "not known" if value is None else safe(show(value, METRICS[metric].unit))
