"""The charts of a report, as plotly figures: pure functions of results.

Statistics use all data; only drawings are downsampled, as ``Chart.downsampling`` states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any, TypeVar

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from llmbench.analysis.metrics import LATENCIES, METRICS, STAGES
from llmbench.analysis.stats import ecdf
from llmbench.analysis.values import Estimate
from llmbench.report import palette, table
from llmbench.report.results import CaseResults, Results
from llmbench.report.sections import overview
from llmbench.report.table import Cell, Column, ColumnOf, Table
from llmbench.report.wording import capitalized

CASES = 60  # drawn in one chart
ECDF_POINTS = 1000
LONG_SECONDS = 10.0
SHORT_SPAN, LONG_SPAN = 4.0, 2000.0  # of a logarithmic axis, as a factor
SHARES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
BAR_HEIGHT = 46
MARGIN_HEIGHT = 76
PATTERNS = ("x", "", "/", ".", "-", "+")
BARS = "Bars are figures over processes, whiskers their intervals, circles single processes."
ESTIMATED = {"figure": "value", "low": "low", "high": "high"}
UNIT_NAMES = {"s": "seconds", "B": "bytes"}
NAMES = {"autorange": "reversed", "showgrid": False, "type": "category"}
LEGEND = {
    "orientation": "h", "y": 1.0, "yanchor": "bottom", "traceorder": "normal", "maxheight": 1000,
}  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Chart:
    """A plotly figure with its title, caption and data.

    ``caption`` is also read by screen readers; ``downsampling`` states which data are not drawn;
    ``empty`` states why there is nothing to draw, if so; ``data`` has the plotted values as tables.
    """

    key: str
    title: str
    figure: go.Figure
    caption: str
    downsampling: str = ""
    empty: str = ""
    data: tuple[Table, ...] = ()


def safe(text: str) -> str:
    """Escape HTML in text, which plotly would render otherwise."""
    return escape(text, quote=False)


def thin(length: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` evenly spaced indices of ``length`` items, ends included."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.int64))


def drawn_cases(cases: Sequence[T], most: int = CASES) -> list[T]:
    """Return at most ``most`` cases (or bars of cases), sampled evenly."""
    return [cases[index] for index in thin(len(cases), most)]


def left_out(cases: Sequence[Any]) -> str:
    """Return that not all cases are drawn; empty if they are."""
    return (
        f"{CASES} of {len(cases):,} cases are drawn, sampled evenly." if len(cases) > CASES else ""
    )


def layout(**more: Any) -> dict[str, Any]:
    """Return the plotly layout shared by all charts, updated with ``more``."""
    looks = {
        "gridcolor": palette.GRID,
        "linecolor": palette.GRID,
        "zeroline": False,
        "automargin": True,
        "ticklabelstandoff": 4,
        "title": {"font": {"size": 12}, "standoff": 8},
    }
    return {
        "template": go.layout.Template(layout={"xaxis": looks, "yaxis": looks}),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": palette.MUTED},
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "showlegend": False,
        "hoverlabel": {"align": "left"},
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return a plotly axis with a title."""
    return {"title": {"text": title}, **more}


def log_axis(title: str, values: Iterable[float], **more: Any) -> dict[str, Any]:
    """Return a logarithmic axis whose labels are whole numbers, as many as its span has room for.

    A short span has evenly spaced labels, a long one powers of ten, others 1, 2 and 5 of each.
    """
    drawn = [value for value in values if value > 0] or [1.0]
    span = max(drawn) / min(drawn)
    dtick = None if span < SHORT_SPAN else 1 if span > LONG_SPAN else "D2"
    return axis(title, **{"type": "log", "tickformat": ",~r", "dtick": dtick, **more})


# -- latency ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Distribution:
    """What an ECDF shows: the key of the chart, the quantity, and the caption.

    ``empty`` is the reason why a case, or every case, has no samples.
    """

    key: str
    label: str
    caption: str
    empty: str


def latency_ecdf(results: Results, latency: str) -> Chart:
    """Draw the ECDF of a latency over requests (ITL: over gaps), with one line per case."""
    what = "gaps between chunks" if latency == "itl" else "requests"
    label = LATENCIES[latency]
    caption = f"The share of {what} at or below each {label}; further left is faster."
    of = Distribution(f"ecdf-{latency}", label, caption, "no measured request has this latency")
    samples = {case.index: case.pooled(latency) for case in results.measured}
    return ecdf_chart(of, results.measured, samples)


def ecdf_chart(
    of: Distribution, measured: Sequence[CaseResults], samples: Mapping[int, NDArray[np.float64]]
) -> Chart:
    """Draw the ECDF of samples in seconds, by the index of their case, with one line per case."""
    cases = drawn_cases(measured)
    longest = max((sample.max() for sample in samples.values() if len(sample)), default=0.0)
    unit, size = ("s", 1.0) if longest >= LONG_SECONDS else ("ms", 1e-3)
    ends = (end / size for s in samples.values() if len(s) for end in (s.min(), s.max()))
    xaxis = log_axis(f"{of.label} ({unit})", ends)
    figure = go.Figure(
        [
            _ecdf_line(case, samples[case.index] / size, f"{of.label} %{{x:.4~g}} {unit}")
            for case in cases
            if len(samples[case.index])
        ],
        layout(
            height=300,
            xaxis=xaxis,
            yaxis={"range": [0, 1.01], "tickformat": ".0%", "dtick": 0.25},
            meta={"latency_axis": "xaxis", "dtick": xaxis["dtick"]},
        ),
    )
    largest = max(map(len, samples.values()), default=0)
    return Chart(
        of.key,
        of.label,
        figure,
        of.caption,
        " ".join(filter(None, (left_out(measured), _ecdf_downsampling(largest)))),
        "" if largest else f"{capitalized(of.empty)}.",
        (_curves(of, cases, (samples[case.index] for case in cases)),),
    )


def _ecdf_line(case: CaseResults, sample: NDArray[np.float64], hover: str) -> go.Scatter:
    """Return an ECDF as a step line that rises from 0 at the smallest sample."""
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
            "color": palette.case_color(case.index),
            "dash": palette.case_dash(case.index),
        },
        hovertemplate=f"{hover}<br>%{{y:.1%}} are as fast or faster",
    )


def _curves(
    of: Distribution, cases: Iterable[CaseResults], samples: Iterable[NDArray[np.float64]]
) -> Table:
    """Return the quantity at each percentage of SHARES, one column per case."""
    columns = (*table.text_columns("share"), *(Column(case.name) for case in cases))
    read = [_read_at_shares(sample, of.empty) for sample in samples]
    rows = tuple(
        (Cell(f"{share} %"), *(cells[index] for cells in read))
        for index, share in enumerate(SHARES)
    )
    note = "Pooled over processes: this share of samples does not exceed the value; 0 %: minimum."
    return Table(f"{of.label} by share", columns, rows, note)


def _read_at_shares(sample: NDArray[np.float64], empty: str) -> list[Cell]:
    if not len(sample):
        return [table.missing(empty)] * len(SHARES)
    heights = np.percentile(sample, SHARES, method="inverted_cdf")
    return [table.quantity(float(height), "s") for height in heights]


def _ecdf_downsampling(largest: int) -> str:
    if largest <= ECDF_POINTS:
        return ""
    return f"Drawn with {ECDF_POINTS:,} of up to {largest:,} points per line; statistics use all."


# -- bars ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart: its label, the index that selects its color, and the estimate to draw."""

    name: str
    index: int
    estimate: Estimate


def throughput(results: Results, metric: str) -> Chart:
    """Draw a metric as one bar per case, with its interval and a circle per process."""
    every = [Bar(case.name, case.index, case.estimates[metric]) for case in results.measured]
    known = [bar for bar in every if bar.estimate.value is not None]
    empty = "" if known else reasons_for_unknown(results, metric)
    label, unit = METRICS[metric].label, METRICS[metric].unit
    figure, data = bars(drawn_cases(known), unit), (_processes(results, metric),)
    return Chart(f"bars-{metric}", label, figure, BARS, left_out(known), empty, data)


def _processes(results: Results, metric: str) -> Table:
    """Return a metric's figure, interval and value in each process, one row per case."""
    label, unit = METRICS[metric].label, METRICS[metric].unit
    repeats = sorted({run.repeat for _, run, _ in results.processes()})
    columns: list[ColumnOf] = [
        *((Column(name), partial(_part, metric=metric, name=name)) for name in ESTIMATED),
        *((Column(f"run {r}"), partial(_process, metric=metric, repeat=r)) for r in repeats),
    ]
    return table.by_case(f"{label} ({unit})", results.measured, columns)


def _part(case: CaseResults, metric: str, name: str) -> Cell:
    estimate = case.estimates[metric]
    value: float | None = getattr(estimate, ESTIMATED[name])
    return table.quantity(value, METRICS[metric].unit, estimate.reason or "unknown")


def _process(case: CaseResults, metric: str, repeat: int) -> Cell:
    for run, summary in zip(case.runs, case.summaries, strict=True):
        if run.repeat == repeat:
            return table.of_value(summary[metric], METRICS[metric].unit)
    return table.missing("this process was not measured")


def reasons_for_unknown(results: Results, metric: str) -> str:
    """Return a sentence with the reasons why no case has a value of a metric."""
    reasons = {case.estimates[metric].reason or "" for case in results.measured}
    return f"Unknown: {'; '.join(sorted(reasons))}."


def bars(known: Sequence[Bar], unit: str) -> go.Figure:
    """Draw one bar per estimate, with its value, interval and a circle per process."""
    return go.Figure(
        [*map(_bar, known), *map(_dots, known)],
        layout(
            barmode="overlay",
            height=MARGIN_HEIGHT + BAR_HEIGHT * max(1, len(known)),
            xaxis=axis(UNIT_NAMES.get(unit, unit), rangemode="tozero"),
            yaxis=NAMES | _names_with_values(known, unit),
            bargap=0.4,
        ),
    )


def _names_with_values(known: Sequence[Bar], unit: str) -> dict[str, Any]:
    """Return ticks with each bar's name and value; whiskers could cover a value in the plot."""
    names = [safe(bar.name) for bar in known]
    values = [table.show(bar.estimate.value or 0.0, unit) for bar in known]
    texts = [f"{name}<br><b>{text}</b>" for name, text in zip(names, values, strict=True)]
    return {"tickmode": "array", "tickvals": names, "ticktext": texts}


def _bar(bar: Bar) -> go.Bar:
    color = palette.case_color(bar.index)
    return go.Bar(
        orientation="h",
        x=[bar.estimate.value],
        y=[safe(bar.name)],
        name=safe(bar.name),
        meta={"case": bar.index},
        marker={"color": palette.pale(color), "line": {"color": color, "width": 1.5}},
        error_x=whiskers(bar.estimate),
        hovertemplate="%{y}: %{x:,.4~g}<extra></extra>",
    )


def whiskers(estimate: Estimate) -> dict[str, Any] | None:
    """Return an estimate's interval as plotly error bars; None without an interval."""
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
    """Draw each case's cold-start time by stage, from import until step times are steady."""
    colors = (
        palette.WAITING, palette.QUEUE, palette.PREFILL, palette.DECODE, palette.MUTED, palette.INK,
    )  # fmt: skip
    looks = zip(STAGES, colors, PATTERNS, strict=True)
    cases = drawn_cases(results.measured)
    figure = go.Figure(
        [_stage(cases, f"cold_start_{stage}_seconds", look) for stage, *look in looks],
        stacked(len(cases), axis("seconds", rangemode="tozero")),
    )
    caption = (
        "Import, load, compile or export, first token, the warm-up until step times are steady, "
        "and the check against the model's own forward, averaged over processes."
    )
    data = overview.cold_start(results)
    empty = "" if len(data.columns) > 1 else data.note
    cut = left_out(results.measured)
    return Chart("cold-start", data.title, figure, caption, cut, empty, (data,))


def stacked(count: int, xaxis: dict[str, Any]) -> dict[str, Any]:
    """Return the layout of ``count`` stacked horizontal bars with a legend."""
    return layout(
        barmode="stack",
        bargap=0.4,
        height=MARGIN_HEIGHT + 24 + BAR_HEIGHT * max(1, count),
        xaxis=xaxis,
        yaxis=NAMES,
        showlegend=True,
        legend=LEGEND,
    )


def _stage(cases: Sequence[CaseResults], metric: str, look: Sequence[str]) -> go.Bar:
    seconds = [case.estimates[metric].value for case in cases]
    return stacked_bar(cases, METRICS[metric].label, seconds, look)


def stacked_bar(
    cases: Sequence[CaseResults], label: str, seconds: Sequence[float | None], look: Sequence[str]
) -> go.Bar:
    """Return one part of every case's stacked bar; ``look`` is its color and pattern."""
    color, pattern = look
    return go.Bar(
        orientation="h",
        name=label,
        x=list(seconds),
        y=[safe(case.name) for case in cases],
        meta={"cases": [case.index for case in cases]},
        marker={"color": color, "pattern": {"shape": pattern, "size": 6}},
        hovertemplate=f"%{{y}}: {label} %{{x:.3~g}} s<extra></extra>",
    )
