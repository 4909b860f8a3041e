"""The charts of a report, as plotly figures: pure functions of results.

Numbers are computed on all the data; only what is drawn is thinned out, and ``thinned`` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from llmbench.metrics import LATENCIES, METRICS, STAGES
from llmbench.report import palette
from llmbench.report.cells import show
from llmbench.report.results import CaseResults, Results
from llmbench.stats import Estimate, ecdf

__all__ = [
    "BARS",
    "Bar",
    "Chart",
    "bars",
    "cold_start",
    "latency_ecdf",
    "layout",
    "safe",
    "thin",
    "throughput",
]

ECDF_POINTS = 1000
LONG_SECONDS = 10.0
BAR_HEIGHT = 46
MARGIN_HEIGHT = 76
PATTERNS = ("x", "", "/", ".", "-")
BARS = "Bars are means over processes, whiskers their 95 % intervals, circles single processes."


@dataclass(frozen=True)
class Chart:
    """A figure with the words that go with it.

    ``says`` tells what it shows, for those who see it and those who hear it; ``thinned`` what was
    left out of the drawing, or nothing; ``empty`` why there is nothing to draw, or nothing.
    """

    key: str
    title: str
    figure: go.Figure
    says: str
    thinned: str = ""
    empty: str = ""


def safe(text: str) -> str:
    """Keep a name from being read as markup, which plotly's texts are."""
    return escape(text, quote=False)


def thin(length: int, most: int) -> NDArray[np.int64]:
    """Choose at most so many places of a sequence, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))


def layout(**more: Any) -> dict[str, Any]:
    """Lay out every chart alike: transparent, in the page's font, with quiet grids."""
    axis = {
        "gridcolor": palette.GRID,
        "linecolor": palette.GRID,
        "zeroline": False,
        "automargin": True,
        "ticklabelstandoff": 4,
        "title": {"font": {"size": 12}, "standoff": 8},
    }
    return {
        "template": go.layout.Template(layout={"xaxis": axis, "yaxis": axis}),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": palette.MUTED},
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "showlegend": False,
        "hoverlabel": {"align": "left"},
        **more,
    }


# -- latency ---------------------------------------------------------------------------------------


def latency_ecdf(results: Results, latency: str) -> Chart:
    """Draw the share of requests (of gaps, for ITL) that are as fast as each latency or faster."""
    samples = {case.index: case.pooled(latency) for case in results.measured}
    longest = max((sample.max() for sample in samples.values() if len(sample)), default=0.0)
    unit, size = ("s", 1.0) if longest >= LONG_SECONDS else ("ms", 1e-3)
    label = LATENCIES[latency]
    figure = go.Figure(
        [
            _ecdf_line(case, samples[case.index] / size, f"{label} %{{x:.4~g}} {unit}")
            for case in results.measured
            if len(samples[case.index])
        ],
        layout(
            height=300,
            xaxis={"title": {"text": f"{label} ({unit})"}, "rangemode": "tozero"},
            yaxis={"range": [0, 1.01], "tickformat": ".0%", "dtick": 0.25},
        ),
    )
    largest = max(map(len, samples.values()), default=0)
    return Chart(
        f"ecdf-{latency}",
        label,
        figure,
        _ecdf_says(latency),
        _ecdf_thinned(largest),
        "" if largest else "No measured request has it.",
    )


def _ecdf_line(case: CaseResults, sample: NDArray[np.float64], hover: str) -> go.Scatter:
    """Draw a line that rises from 0 at the smallest value."""
    values, shares = ecdf(sample)
    drawn = thin(len(values), ECDF_POINTS)
    return go.Scatter(
        x=np.r_[values[0], values[drawn]],
        y=np.r_[0.0, shares[drawn]],
        cliponaxis=False,
        name=safe(case.name),
        meta={"case": case.index},
        mode="lines",
        line={
            "shape": "hv",
            "width": 2,
            "color": palette.case_colour(case.index),
            "dash": palette.case_dash(case.index),
        },
        hovertemplate=f"{hover}<br>%{{y:.1%}} are as fast or faster",
    )


def _ecdf_says(latency: str) -> str:
    what = "gaps between chunks of tokens" if latency == "itl" else "requests"
    return f"The share of {what} at or below each {LATENCIES[latency]}; further left is faster."


def _ecdf_thinned(largest: int) -> str:
    if largest <= ECDF_POINTS:
        return ""
    return f"Drawn with {ECDF_POINTS:,} of up to {largest:,} points a line; figures use all."


# -- bars ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """An estimate to be drawn under a name; ``index`` decides its colour."""

    name: str
    index: int
    estimate: Estimate


def throughput(results: Results, metric: str) -> Chart:
    """Draw a rate of each case as a bar, with its interval and a dot for each process."""
    found = [Bar(case.name, case.index, case.estimates[metric]) for case in results.measured]
    known = [bar for bar in found if bar.estimate.value is not None]
    empty = "" if known else _why(results, metric)
    label, unit = METRICS[metric].label, METRICS[metric].unit
    says = f"Further right is more. {BARS}"
    return Chart(f"bars-{metric}", label, bars(known, unit), says, empty=empty)


def _why(results: Results, metric: str) -> str:
    reasons = {case.estimates[metric].reason or "" for case in results.measured}
    return f"Not known: {'; '.join(sorted(reasons))}."


def bars(known: Sequence[Bar], unit: str) -> go.Figure:
    """Draw bars with their intervals, a dot for each process and the figures beside the names."""
    return go.Figure(
        [*map(_bar, known), *map(_dots, known)],
        layout(
            barmode="overlay",
            height=MARGIN_HEIGHT + BAR_HEIGHT * max(1, len(known)),
            xaxis={"title": {"text": unit}, "rangemode": "tozero"},
            yaxis=_names_axis() | _names_with_values(known, unit),
            bargap=0.4,
        ),
    )


def _names_axis() -> dict[str, Any]:
    return {"autorange": "reversed", "showgrid": False, "type": "category"}


def _names_with_values(known: Sequence[Bar], unit: str) -> dict[str, Any]:
    """Write each figure below its name, where no whisker can cover it."""
    names = [safe(bar.name) for bar in known]
    values = [show(bar.estimate.value or 0.0, unit) for bar in known]
    texts = [f"{name}<br><b>{text}</b>" for name, text in zip(names, values, strict=True)]
    return {"tickmode": "array", "tickvals": names, "ticktext": texts}


def _bar(bar: Bar) -> go.Bar:
    colour = palette.case_colour(bar.index)
    return go.Bar(
        orientation="h",
        x=[bar.estimate.value],
        y=[safe(bar.name)],
        name=safe(bar.name),
        meta={"case": bar.index},
        marker={"color": palette.pale(colour), "line": {"color": colour, "width": 1.5}},
        error_x=_whiskers(bar.estimate),
        hovertemplate="%{y}: %{x:,.4~g}<extra></extra>",
    )


def _whiskers(estimate: Estimate) -> dict[str, Any] | None:
    """Give the interval as distances from the bar's end; nothing where there is no interval."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "arrayminus": [estimate.value - estimate.low],
        "array": [estimate.high - estimate.value],
        "color": palette.INK,
        "thickness": 1.5,
        "width": 5,
    }


def _dots(bar: Bar) -> go.Scatter:
    values = bar.estimate.values
    return go.Scatter(
        x=values,
        y=[safe(bar.name)] * len(values),
        mode="markers",
        name=safe(bar.name),
        meta={"case": bar.index},
        marker={"color": palette.INK, "size": 6, "symbol": "circle-open", "line": {"width": 1.5}},
        hovertemplate="one process: %{x:,.4~g}<extra></extra>",
    )


def cold_start(results: Results) -> Chart:
    """Draw what each case costs before it answers, and until it is steady, stage upon stage."""
    names = [safe(case.name) for case in results.measured]
    stages = [f"cold_start_{stage}_seconds" for stage in STAGES]
    colours = (palette.WAITING, palette.QUEUE, palette.PREFILL, palette.DECODE, palette.MUTED)
    figure = go.Figure(
        [
            go.Bar(
                orientation="h",
                name=METRICS[stage].label,
                x=[case.estimates[stage].value for case in results.measured],
                y=names,
                marker={"color": colour, "pattern": {"shape": pattern, "size": 6}},
                hovertemplate=f"%{{y}}: {METRICS[stage].label} %{{x:.3~g}} s<extra></extra>",
            )
            for stage, colour, pattern in zip(stages, colours, PATTERNS, strict=True)
        ],
        layout(
            barmode="stack",
            bargap=0.4,
            height=MARGIN_HEIGHT + 24 + BAR_HEIGHT * max(1, len(names)),
            xaxis={"title": {"text": "seconds"}, "rangemode": "tozero"},
            yaxis=_names_axis(),
            showlegend=True,
            legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
        ),
    )
    says = (
        "Import, load, compile or export, first token, and the warm-up until step times are "
        "steady, averaged over processes."
    )
    return Chart("cold-start", "Seconds before answers come steadily", figure, says)
