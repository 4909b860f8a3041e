"""Latency against load, where a scenario or a search went through several."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from llmbench.metrics import LATENCIES
from llmbench.objectives import probe
from llmbench.report import palette
from llmbench.report.cells import show
from llmbench.report.charts import Chart, layout, safe
from llmbench.report.results import CaseResults, Results

__all__ = ["load_curve"]

KEYS = ("load.rate", "load.concurrency")
PERCENTS = ((99, "solid"), (50, "dot"))
LATENCY = "ttft"

Curve = list[tuple[float, CaseResults]]


def load_curve(results: Results) -> Chart | None:
    """Draw the TTFT of each backend against the load; None where the load is one and the same.

    The knee is the highest load that meets the objectives, where the scenario has some.
    """
    key = next((k for k in KEYS if any(k in case.point for case in results.measured)), None)
    curves = _curves(results.measured, key) if key else {}
    if not any(len(curve) > 1 for curve in curves.values()):
        return None
    figure = go.Figure(
        [line for number, name in enumerate(curves) for line in _lines(number, name, curves[name])],
        layout(
            height=340,
            showlegend=len(curves) > 1,
            xaxis={"title": {"text": str(key)}, "rangemode": "tozero"},
            yaxis={"title": {"text": f"{LATENCIES[LATENCY]} (s)"}, "type": "log"},
        ),
    )
    for number, (name, curve) in enumerate(curves.items()):
        _mark_knee(figure, number, name, curve)
    says = (
        "The line is the p99, the dots the p50, of all processes at a load. A vertical line marks "
        "the highest load that met the objectives, where there are some."
    )
    return Chart("load-curve", "Latency against load", figure, says)


def _curves(cases: Sequence[CaseResults], key: str) -> dict[str, Curve]:
    """Group cases by backend, ordered by load; points that differ in more are left out."""
    curves: dict[str, Curve] = {}
    for case in cases:
        if list(case.point) == [key]:
            backend = case.name.partition(",")[0]
            curves.setdefault(backend, []).append((float(case.point[key]), case))
    return {name: sorted(curve, key=lambda point: point[0]) for name, curve in curves.items()}


def _lines(number: int, name: str, curve: Curve) -> list[go.Scatter]:
    return [_line(number, name, curve, percent, dash) for percent, dash in PERCENTS]


def _line(number: int, name: str, curve: Curve, percent: int, dash: str) -> go.Scatter:
    metric = f"{LATENCY}_seconds_p{percent}"
    known = [(at, case.estimates[metric].value) for at, case in curve]
    drawn = [(at, value) for at, value in known if value is not None]
    return go.Scatter(
        x=[at for at, _ in drawn],
        y=[value for _, value in drawn],
        name=f"{safe(name)} p{percent}",
        mode="lines+markers",
        line={"color": palette.case_colour(number), "dash": dash, "width": 2},
        marker={"size": 7},
        text=[show(value, "s") for _, value in drawn],
        hovertemplate=f"{safe(name)}: p{percent} %{{text}} at %{{x:.4~g}}<extra></extra>",
    )


def _mark_knee(figure: go.Figure, number: int, name: str, curve: Curve) -> None:
    met = [at for at, case in curve if case.runs[0].spec.get("slo") and _meets(at, case)]
    if met:
        figure.add_vline(
            x=max(met),
            line={"color": palette.case_colour(number), "dash": "dash", "width": 1.5},
            annotation_text=f"{safe(name)}: {max(met):.4g}",
            annotation_position="top left",
        )


def _meets(at: float, case: CaseResults) -> bool:
    return probe(at, list(case.runs)).met
