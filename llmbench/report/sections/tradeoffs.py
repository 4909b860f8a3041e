"""Speed, memory and energy against output quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from llmbench.analysis.metrics import METRICS
from llmbench.analysis.values import Estimate
from llmbench.report import palette
from llmbench.report.charts import Chart, axis, layout, reasons_for_unknown, safe, whiskers
from llmbench.report.results import CaseResults, Results, is_lower
from llmbench.report.scenario_text import is_open_loop
from llmbench.report.table import Cell, Column, ColumnOf, by_case, metric_column, missing, show

QUALITY = "kl_divergence"
THROUGHPUT, TIME = "output_tokens_per_second", "tpot_p50"
MEMORY = "memory_weights_bytes"
ENERGY = "energy_joules_per_output_token"

FRONTIER, DOMINATED, UNDECIDED = "on the frontier", "dominated", "undecided"
SYMBOLS = {FRONTIER: "circle", DOMINATED: "circle-open", UNDECIDED: "circle-open-dot"}

Point = tuple[float, float]


def frontier(points: Sequence[Point], better: str) -> list[Point]:
    """Return the Pareto frontier of points (cost, divergence), in order of divergence.

    A lower divergence is better; ``better`` is ``higher`` or ``lower`` for the cost.
    """
    sign = -1 if better == "higher" else 1
    best: list[Point] = []
    for cost, divergence in sorted(points, key=lambda point: (point[1], sign * point[0])):
        if not best or sign * cost < sign * best[-1][0]:
            best.append((cost, divergence))
    return best


def pareto(results: Results) -> Chart:
    """Draw the cost of each case against the divergence of its outputs from the reference's."""
    known = [c for c in results.measured if c.estimates[QUALITY].value is not None]
    costs = _costs(results, known)
    figure = make_subplots(rows=1, cols=len(costs), shared_yaxes=True, horizontal_spacing=0.08)
    stands = {cost: standings(known, cost) for cost in costs}
    for column, (cost, standing) in enumerate(stands.items(), start=1):
        on_frontier = [case for case, how in standing if how == FRONTIER]
        figure.add_trace(_line(on_frontier, cost), row=1, col=column)
        for case, how in standing:
            figure.add_trace(_mark(case, cost, how), row=1, col=column)
        xaxis = axis(f"{METRICS[cost].label} ({METRICS[cost].unit})", rangemode="tozero")
        figure.update_xaxes(xaxis, row=1, col=column)
    unit = f"KL divergence from the reference ({METRICS[QUALITY].unit})"
    figure.update_layout(layout(height=360, yaxis=axis(unit, rangemode="tozero")))
    empty = "" if known else reasons_for_unknown(results, QUALITY)
    columns = [
        *(metric_column(name) for name in (QUALITY, *costs)),
        *(_standing_column(cost, standing) for cost, standing in stands.items()),
    ]
    data = (by_case("Speed and memory against quality", results.measured, columns),)
    return Chart("pareto", data[0].title, figure, _caption(costs), empty=empty, data=data)


def _costs(results: Results, known: Sequence[CaseResults]) -> tuple[str, ...]:
    """Return the cost metrics; speed is TPOT under an open-loop load, which sets the throughput."""
    speed = TIME if is_open_loop(results) else THROUGHPUT
    metered = any(case.estimates[ENERGY].value is not None for case in known)
    return (speed, MEMORY, ENERGY) if metered else (speed, MEMORY)


def _caption(costs: Sequence[str]) -> str:
    side = "right" if METRICS[costs[0]].better == "higher" else "left"
    energy = (
        " and takes less energy in the third" if ENERGY in costs else "; no case measured energy"
    )
    return (
        f"Lower is closer to the reference; {side} is faster in the first panel, left is smaller "
        f"in the second{energy}. The dashed line is the Pareto frontier; its cases are filled. An "
        "empty circle is dominated beyond both intervals (whiskers), one with a dot is undecided."
    )


def standings(cases: Sequence[CaseResults], cost: str) -> list[tuple[CaseResults, str]]:
    """Return each case with a known cost, and whether it is on the Pareto frontier.

    A case is dominated if another is better in cost and divergence, with intervals that do not
    overlap; undecided if only its figures are better.
    """
    known = [case for case in cases if case.estimates[cost].value is not None]
    best = frontier([(_value(c, cost), _value(c, QUALITY)) for c in known], METRICS[cost].better)
    return [(case, _standing(case, known, cost, best)) for case in known]


def _standing(
    case: CaseResults, others: Sequence[CaseResults], cost: str, best: Sequence[Point]
) -> str:
    if (_value(case, cost), _value(case, QUALITY)) in best:
        return FRONTIER
    dominated = any(_dominates(other, case, cost) for other in others if other is not case)
    return DOMINATED if dominated else UNDECIDED


def _dominates(one: CaseResults, other: CaseResults, cost: str) -> bool:
    better, worse = one.estimates[cost], other.estimates[cost]
    if METRICS[cost].better == "higher":
        better, worse = worse, better
    return is_lower(better, worse) and _diverges_less(
        one.estimates[QUALITY], other.estimates[QUALITY]
    )


def _diverges_less(one: Estimate, other: Estimate) -> bool:
    """Return whether a divergence is lower: beyond both intervals or, without them, by value."""
    if one.low is None or other.low is None:
        return (one.value or 0.0) < (other.value or 0.0)
    return is_lower(one, other)


def _standing_column(cost: str, standing: Sequence[tuple[CaseResults, str]]) -> ColumnOf:
    """Return the column of each case's standing by a cost and its divergence."""
    stands = {case.index: how for case, how in standing}

    def cell(case: CaseResults) -> Cell:
        if how := stands.get(case.index):
            return Cell(how)
        return missing(case.estimates[cost].reason or case.estimates[QUALITY].reason)

    return Column(f"by {METRICS[cost].label}", numeric=False), cell


def _value(case: CaseResults, metric: str) -> float:
    return case.estimates[metric].value or 0.0


def _line(cases: Sequence[CaseResults], cost: str) -> go.Scatter:
    """Return the line of the Pareto frontier through its cases, in order of divergence."""
    ordered = sorted(cases, key=lambda case: _value(case, QUALITY))
    return go.Scatter(
        x=[_value(case, cost) for case in ordered],
        y=[_value(case, QUALITY) for case in ordered],
        mode="lines",
        meta={"cases": [case.index for case in ordered]},
        line={"color": palette.MUTED, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )


def _mark(case: CaseResults, cost: str, standing: str) -> go.Scatter:
    shown = (THROUGHPUT, TIME, MEMORY, ENERGY, QUALITY, "perplexity_ratio", "top1_agreement")
    lines = [f"{METRICS[name].label}: {_shown(case, name)}" for name in shown]
    lines.append(f"by {METRICS[cost].label}: {standing}")
    color = palette.case_color(case.index)
    symbol = SYMBOLS[standing]
    return go.Scatter(
        x=[_value(case, cost)],
        y=[_value(case, QUALITY)],
        name=safe(case.name),
        meta={"case": case.index},
        mode="markers+text",
        text=[safe(case.name)],
        textposition="top center",
        cliponaxis=False,
        marker={"size": 12, "color": color, "symbol": symbol, "line": {"width": 2}},
        error_x=_interval(case.estimates[cost], color),
        error_y=_interval(case.estimates[QUALITY], color),
        hovertemplate="<br>".join([f"<b>{safe(case.name)}</b>", *lines]) + "<extra></extra>",
    )


def _interval(estimate: Estimate, color: str) -> dict[str, Any] | None:
    drawn = whiskers(estimate)
    return drawn and {**drawn, "color": color, "width": 4}


def _shown(case: CaseResults, metric: str) -> str:
    value = case.estimates[metric].value
    return "unknown" if value is None else safe(show(value, METRICS[metric].unit))
