"""Latency against load, where a scenario or a search went through several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from llmbench.analysis.metrics import LATENCIES
from llmbench.analysis.slo_attainment import probe
from llmbench.report import palette
from llmbench.report.by_case import DAGGER
from llmbench.report.cells import Cell, Column, Table, percentile, show
from llmbench.report.charts import Chart, layout, safe
from llmbench.report.results import CaseResults, Results
from llmbench.scenario.schema import Objective
from llmbench.units import parse_seconds

KEYS = ("load.rate", "load.concurrency")
PERCENTS = ((99, "solid"), (50, "dot"))
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
SAYS = (
    "The line is the p99, the dots the p50, of all processes at a load. Where there are "
    "objectives, a level line is one for this latency, and an upright one marks the highest load "
    "that met all."
)

# the load, what was measured at it, and whether that met the objectives
Point = tuple[float, CaseResults, str]
Curves = dict[str, list[Point]]


def load_curves(results: Results, latencies: Iterable[str]) -> dict[str, Chart]:
    """Draw each latency of each backend against the load; nothing where there is one load only.

    The knee is the highest load that meets the objectives, where the scenario has some.
    """
    key = next((k for k in KEYS if any(k in case.point for case in results.measured)), None)
    if key is None or not _go_through_several(results.measured, key):
        return {}
    curves = _curves(results.measured, key)
    slo = results.spec.get("slo") or {}
    return {latency: _chart(curves, latency, key, slo) for latency in latencies}


def _go_through_several(cases: Sequence[CaseResults], key: str) -> bool:
    """Tell whether any backend was measured at more than one load."""
    backends = [_backend(case) for case in cases if list(case.point) == [key]]
    return len(backends) > len(set(backends))


def _backend(case: CaseResults) -> str:
    return case.name.partition(",")[0]


def _curves(cases: Sequence[CaseResults], key: str) -> Curves:
    """Group cases by backend, ordered by load; points that differ in more are left out."""
    curves: Curves = {}
    for case in cases:
        if list(case.point) == [key]:
            at = float(case.point[key])
            curves.setdefault(_backend(case), []).append((at, case, _objectives(at, case)))
    return {name: sorted(curve, key=lambda point: point[0]) for name, curve in curves.items()}


def _objectives(at: float, case: CaseResults) -> str:
    return probe(at, list(case.runs)).verdict if case.runs[0].spec.get("slo") else "none"


def _chart(curves: Curves, latency: str, key: str, slo: dict[str, Any]) -> Chart:
    label = LATENCIES[latency]
    figure = go.Figure(
        [
            _line(f"{safe(name)} p{percent}", curve, f"{latency}_p{percent}", number, dash)
            for number, (name, curve) in enumerate(curves.items())
            for percent, dash in PERCENTS
        ]
        + [_level(curves, *bound) for bound in _bounds(slo, latency)],
        layout(
            height=340,
            showlegend=len(curves) > 1,
            legend={"orientation": "h", "y": 1.0, "yanchor": "bottom"},
            xaxis={"title": {"text": key}, "rangemode": "tozero"},
            yaxis={
                "title": {"text": f"{label} (s)"},
                "type": "log",
                "dtick": "D2",
                "tickformat": ",~r",
            },
            meta={"latency_axis": "yaxis"},
        ),
    )
    for number, (name, curve) in enumerate(curves.items()):
        _mark_knee(figure, number, name, curve)
    drawn = [line for line in figure.data if line.meta]
    empty = "" if any(line.x for line in drawn) else "No measured request has it."
    data = (_table(curves, latency, key),)
    return Chart(f"load-{latency}", f"{label} against load", figure, SAYS, empty=empty, data=data)


def _line(name: str, curve: Sequence[Point], metric: str, number: int, dash: str) -> go.Scatter:
    known = [(at, case, case.estimates[metric].value) for at, case, _ in curve]
    drawn = [(at, case.index, value) for at, case, value in known if value is not None]
    return go.Scatter(
        x=[at for at, _, _ in drawn],
        y=[value for _, _, value in drawn],
        meta={"cases": [index for _, index, _ in drawn]},
        name=name,
        mode="lines+markers",
        line={"color": palette.case_color(number), "dash": dash, "width": 2},
        marker={"size": 7, "symbol": SYMBOLS[number % len(SYMBOLS)]},
        text=[show(value, "s") for _, _, value in drawn],
        hovertemplate=f"{name}: %{{text}} at %{{x:.4~g}}<extra></extra>",
    )


def _bounds(slo: dict[str, Any], latency: str) -> Iterator[tuple[str, float]]:
    """Word each objective for a latency, and give its bound in seconds."""
    for key, told in slo.items():
        objective = Objective.of(key)
        if objective.quantity == latency:
            bound = parse_seconds(told)
            of_class = f"{objective.request_class}: " if objective.request_class else ""
            yield f"{of_class}p{objective.percent:g} ≤ {show(bound, 's')}", bound


def _level(curves: Curves, label: str, bound: float) -> go.Scatter:
    loads = [at for curve in curves.values() for at, _, _ in curve]
    return go.Scatter(
        x=[min(loads), max(loads)],
        y=[bound, bound],
        name=safe(label),
        mode="lines+text",
        text=["", safe(label)],
        textposition="top left",
        line={"color": palette.INK, "dash": "longdash", "width": 1.5},
        showlegend=False,
        hovertemplate=f"objective: {safe(label)}<extra></extra>",
    )


def _mark_knee(figure: go.Figure, number: int, name: str, curve: Sequence[Point]) -> None:
    met = [at for at, _, objectives in curve if objectives == "met"]
    if met:
        figure.add_vline(
            x=max(met),
            line={"color": palette.case_color(number), "dash": "dash", "width": 1.5},
            annotation_text=f"{safe(name)}: {max(met):.4g}",
            annotation_position="top left",
        )


def _table(curves: Curves, latency: str, key: str) -> Table:
    percents = [percent for percent, _ in reversed(PERCENTS)]
    columns = (
        Column("backend", numeric=False),
        Column(key),
        *(Column(f"{LATENCIES[latency]} p{percent}") for percent in percents),
        Column("objectives", "whether those of the scenario are met", numeric=False),
    )
    rows = tuple(
        (
            Cell(name),
            Cell(f"{at:g}", at),
            *(percentile(case, latency, percent) for percent in percents),
            Cell(objectives),
        )
        for name, curve in curves.items()
        for at, case, objectives in curve
    )
    return Table(f"{LATENCIES[latency]} against load", columns, rows, DAGGER)
