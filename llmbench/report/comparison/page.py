"""Comparisons with one baseline as a self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from llmbench.analysis.compare.comparison import Comparison
from llmbench.analysis.compare.verdicts import Change, Verdict
from llmbench.analysis.metrics import METRICS
from llmbench.report import palette
from llmbench.report.charts import Chart, axis, layout, safe
from llmbench.report.comparison import side_by_side, tables
from llmbench.report.comparison.answer import answer
from llmbench.report.comparison.machines import machines
from llmbench.report.html import render_template

ROW_HEIGHT, EDGE_HEIGHT = 26, 70
COLORS = {
    "regression": palette.FAILED, "undecided": palette.PREFILL, "improvement": palette.DECODE,
}  # fmt: skip
SYMBOLS = {
    "regression": "x",
    "undecided": "diamond-open",
    "improvement": "star",
}  # the rest are circles


def render(comparisons: Sequence[Comparison], home: str = "") -> str:
    """Return the HTML page of comparisons with one baseline; ``home`` is its back link's target."""
    sides = side_by_side.sides([comparisons[0].baseline, *(c.candidate for c in comparisons)])
    charts = side_by_side.charts(sides)
    parts = [
        {
            "candidate": comparison.candidate.folder.name,
            "answer": answer(comparison),
            "verdicts": tables.verdicts(comparison),
            "covariates": tables.covariates(comparison),
            "differences": tables.differences(comparison),
            "forest": _forest(comparison, number),
        }
        for number, comparison in enumerate(comparisons)
    ]
    return render_template(
        "comparison.html.j2",
        home,
        title=f"{comparisons[0].candidate.name} compared",
        baseline=comparisons[0].baseline.folder.name,
        parts=parts,
        figures=side_by_side.figures(sides),
        charts=charts,
        machines=machines(sides),
        charted=bool(charts) or any(comparison.cases for comparison in comparisons),
    )


def _forest(comparison: Comparison, number: int) -> Chart:
    """Return the chart of each metric's change, with its 95 % interval and tolerance."""
    drawn = [
        (f"{case.case} · {METRICS[key].label}", verdict, verdict.change)
        for case in comparison.cases
        for key, verdict in case.verdicts.items()
        if verdict.change
    ]
    figure = go.Figure(
        [_tolerance(drawn), *(_line(*row) for row in drawn)],
        layout(
            height=ROW_HEIGHT * len(drawn) + EDGE_HEIGHT,
            xaxis=axis("change of the candidate (%)", zeroline=True, zerolinecolor=palette.MUTED),
            yaxis={"autorange": "reversed", "showgrid": False},
        ),
    )
    return Chart(
        f"forest-{number}",
        "Change by metric",
        figure,
        "Points are estimates, lines their 95 % intervals over processes, short ticks the"
        " tolerance; crosses are regressions, stars improvements, diamonds undecided. Unknown ends"
        " of intervals are not drawn.",
        empty="" if drawn else "Nothing could be compared.",
    )


def _tolerance(drawn: Sequence[tuple[str, Verdict, Change]]) -> go.Scatter:
    """Return markers at plus and minus the tolerance of each metric."""
    return go.Scatter(
        x=[sign * 100 * verdict.tolerance for _, verdict, _ in drawn for sign in (-1, 1)],
        y=[safe(label) for label, _, _ in drawn for _ in range(2)],
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": palette.MUTED},
        hovertemplate="tolerance: %{x} %<extra></extra>",
    )


def _line(label: str, verdict: Verdict, change: Change) -> go.Scatter:
    middle = 100 * (change.ratio - 1)
    low, high = (
        100 * (end - 1) if 0 < end < math.inf else middle for end in (change.low, change.high)
    )
    color = COLORS.get(verdict.outcome, palette.MUTED)
    return go.Scatter(
        x=[middle],
        y=[safe(label)],
        mode="markers",
        marker={"size": 9, "color": color, "symbol": SYMBOLS.get(verdict.outcome, "circle")},
        error_x={"type": "data", "symmetric": False, "array": [high - middle],
                 "arrayminus": [middle - low], "color": color, "thickness": 2, "width": 0},
        hovertemplate=f"{safe(label)}: {verdict.change}, {verdict.outcome}<extra></extra>",
    )  # fmt: skip
