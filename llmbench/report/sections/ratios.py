"""Every case against the first one: the metrics that matter as ratios on one axis.

Ratios say how many times better a case is, and are computed as for verdicts (docs/statistics.md):
the median over all pairs of processes, with its rank interval.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, product, repeat

import plotly.graph_objects as go

from llmbench.analysis.compare.judge import CasePair
from llmbench.analysis.compare.verdicts import Change, change_of
from llmbench.analysis.metrics import METRICS
from llmbench.errors import Unavailable
from llmbench.report import palette, table
from llmbench.report.charts import LEGEND, MARGIN_HEIGHT, Chart, layout, log_axis, safe
from llmbench.report.ranking import THROUGHPUT
from llmbench.report.results import CaseResults, Results
from llmbench.report.scenario_text import is_open_loop
from llmbench.report.table import Cell, Column, Table
from llmbench.units import format_number

LATENCIES = ("ttft_p50", "tpot_p50", "e2e_p50")
OTHERS = (
    "goodput_requests_per_second", "perplexity", "memory_weights_bytes",
    "energy_joules_per_output_token",
)  # fmt: skip
CASES = 12  # drawn; more would cover each other
BAR_WIDTH = 10  # characters on each side
LEAST_SCALE = 1.25  # times better, at the end of the axis of text bars
ROW_HEIGHT, CASE_HEIGHT = 22, 12  # pixels
SYMBOLS = ("circle", "square", "diamond", "cross")
LINE = {"yref": "paper", "y0": 0, "y1": 1, "line": {"color": palette.MUTED, "width": 1}}


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better a case is than the reference in a metric; bounds may be infinite."""

    metric: str
    case: CaseResults
    times: float
    low: float
    high: float
    name: str = ""

    @classmethod
    def of(cls, metric: str, case: CaseResults, change: Change, name: str = "") -> Ratio:
        """Return the ratio that a change from the reference means; ``name`` is of the metric."""
        if METRICS[metric].better == "higher":
            return cls(metric, case, change.ratio, change.low, change.high, name)
        low, high = (1 / bound if bound else math.inf for bound in (change.high, change.low))
        return cls(metric, case, 1 / change.ratio, low, high, name)

    @property
    def label(self) -> str:
        """The name of the metric."""
        return self.name or METRICS[self.metric].label

    @property
    def has_interval(self) -> bool:
        """Whether there are enough processes for an interval."""
        return 0 < self.low <= self.high < math.inf


def reference(results: Results) -> CaseResults | None:
    """Return the first measured case, if there are others at the same point of a sweep."""
    at_point = Counter(repr(case.point) for case in results.measured)
    return next((case for case in results.measured if at_point[repr(case.point)] > 1), None)


def ratios(results: Results) -> list[Ratio]:
    """Return the ratios to the reference, by metric and then by case; empty without others."""
    first = reference(results)
    if first is None:
        return []
    others = _others(results, first)[:CASES]
    pairs = list(product(_metrics(results, first), others))
    found = [(metric, case, _change(first, case, metric)) for metric, case in pairs]
    return [Ratio.of(metric, case, change) for metric, case, change in found if change]


def _metrics(results: Results, first: CaseResults) -> list[str]:
    """Return the metrics that matter: latencies, those of the objectives, throughput and others."""
    # under an open-loop load every case that keeps up has the offered throughput
    throughput = () if is_open_loop(results) else (THROUGHPUT,)
    return list(dict.fromkeys((*LATENCIES, *_objectives(first), *throughput, *OTHERS)))


def _objectives(first: CaseResults) -> dict[str, float]:
    bounds: dict[str, float] = first.planned.case.spec.get("slo") or {}
    return {key: bound for key, bound in bounds.items() if key in METRICS}


def _others(results: Results, first: CaseResults) -> list[CaseResults]:
    return [case for case in results.measured if case is not first and case.point == first.point]


def _change(first: CaseResults, case: CaseResults, metric: str) -> Change | None:
    """Return the ratio of a case's values to the reference's, None if it is unknown."""
    pair = CasePair(first.processes, case.processes, ruling=())
    before, after, reason = pair.values(metric)
    if reason or min(*before, *after) <= 0:
        return None
    try:
        pair.allowance(metric)
    except Unavailable:  # the energies have no common scale
        return None
    return change_of(before, after)


# -- the chart -------------------------------------------------------------------------------------


def chart(results: Results) -> Chart:
    """Draw each metric as a row, and each case as a point with its interval."""
    known, first = ratios(results), reference(results)
    if first is None:
        return Chart("ratios", "", go.Figure(), "", empty="No two cases can be compared.")
    margins = list(_margins(first, _distinct(known)[0]))
    left_out = len(_others(results, first)) - CASES
    made = drawn("ratios", first.name, known, margins)
    return replace(
        made,
        title=f"Against {first.name}",
        caption=f"{made.caption} A tick marks what meets the objective."
        if margins
        else made.caption,
        downsampling=f"{left_out} more cases are not drawn." if left_out > 0 else "",
    )


def drawn(
    key: str, first: str, known: Sequence[Ratio], margins: Sequence[go.Scatter] = ()
) -> Chart:
    """Draw ratios to ``first``: a row per metric, a point with its interval per case."""
    metrics, cases = _distinct(known)
    ends = [
        1.0,
        *(end for r in known for end in ((r.low, r.high) if r.has_interval else (r.times,))),
        *(times for margin in margins for times in margin.x),
    ]
    figure = go.Figure(
        [*(_points(case, known) for case in cases), *margins],
        layout(
            height=MARGIN_HEIGHT + 24 + len(metrics) * (ROW_HEIGHT + CASE_HEIGHT * len(cases)),
            xaxis=log_axis(f"times better than {safe(first)}", ends, ticksuffix="×"),
            yaxis={"type": "category", "autorange": "reversed"},
            scattermode="group",
            showlegend=True,
            legend=LEGEND,
            shapes=[{"type": "line", "x0": 1, "x1": 1, **LINE}],
        ),
    )
    return Chart(
        key,
        f"Against {first}",
        figure,
        f"How many times better than {first}: further right is better. Lines are intervals.",
        empty="" if known else "No metric is known of both.",
        data=(_table(first, known),),
    )


def _distinct(known: Sequence[Ratio]) -> tuple[list[str], list[CaseResults]]:
    metrics = dict.fromkeys(ratio.metric for ratio in known)
    return list(metrics), list({ratio.case.index: ratio.case for ratio in known}.values())


def _points(case: CaseResults, known: Sequence[Ratio]) -> go.Scatter:
    mine = [ratio for ratio in known if ratio.case.index == case.index]
    color = palette.case_color(case.index)
    return go.Scatter(
        x=[ratio.times for ratio in mine],
        y=[ratio.label for ratio in mine],
        orientation="h",
        mode="markers",
        name=safe(case.name),
        meta={"case": case.index},
        marker={"color": color, "size": 9, "symbol": SYMBOLS[case.index % len(SYMBOLS)]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [r.high - r.times if r.has_interval else 0 for r in mine],
            "arrayminus": [r.times - r.low if r.has_interval else 0 for r in mine],
            "color": color,
            "thickness": 2,
            "width": 4,
        },
        hovertemplate=f"{safe(case.name)}: %{{y}} %{{x:.3~g}} times better<extra></extra>",
    )


def _margins(first: CaseResults, metrics: Sequence[str]) -> Iterator[go.Scatter]:
    """Yield the ticks of the objectives: how many times better than the reference meets each."""
    values = {key: first.estimates[key].value for key in _objectives(first) if key in metrics}
    margins = {key: value / _objectives(first)[key] for key, value in values.items() if value}
    if margins:
        yield go.Scatter(
            x=list(margins.values()),
            y=[METRICS[key].label for key in margins],
            orientation="h",
            mode="markers",
            name="objective",
            marker={"color": palette.INK, "size": 14, "symbol": "line-ns-open"},
            hovertemplate="the objective of %{y}: %{x:.3~g} times better<extra></extra>",
        )


def _table(first: str, known: Sequence[Ratio]) -> Table:
    columns = (
        *table.text_columns("metric", "case"),
        Column(f"times better than {first}", "with the 95 % rank interval over processes"),
    )
    rows = tuple((Cell(r.label), Cell(r.case.name), _times(r)) for r in known)
    return Table(f"Against {first}", columns, rows)


def _times(ratio: Ratio) -> Cell:
    interval = "no interval"
    if ratio.has_interval:
        interval = f"{format_number(ratio.low)} – {format_number(ratio.high)}"
    return Cell(f"× {format_number(ratio.times)}", ratio.times, interval)


# -- the terminal ----------------------------------------------------------------------------------


def bars(results: Results) -> Table:
    """Return the ratios as text bars: to the right of the line is better."""
    known, first = ratios(results), reference(results)
    scale = f"{'worse':<{BAR_WIDTH}} {'better':>{BAR_WIDTH}}"
    columns = table.text_columns("metric", "case", scale, "times better")
    most = max((LEAST_SCALE, *(max(r.times, 1 / r.times) for r in known)))
    rows = []
    for metric, of_metric in groupby(known, key=lambda ratio: ratio.metric):
        labels = chain((METRICS[metric].label,), repeat(""))
        rows += [
            (Cell(label), Cell(r.case.name), Cell(_bar(r.times, most)), _on_one_line(r))
            for label, r in zip(labels, of_metric, strict=False)
        ]
    return Table(f"Against {first.name}" if first else "", columns, tuple(rows))


def _on_one_line(ratio: Ratio) -> Cell:
    cell = _times(ratio)
    return Cell(f"{cell.text:<8} {cell.detail}", cell.value)


def _bar(times: float, scale: float) -> str:
    """Return a bar on a log axis from 1 / ``scale`` to ``scale``, with a line at 1."""
    bar = "█" * round(BAR_WIDTH * abs(math.log(times, scale)))
    left, right = ("", bar) if times >= 1 else (bar, "")
    return f"{left:>{BAR_WIDTH}}│{right:<{BAR_WIDTH}}"
