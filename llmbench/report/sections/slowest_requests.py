"""The slowest requests of each case, and the waterfall that shows where the time of one went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from llmbench.analysis.metrics import LATENCIES, RecordArrays
from llmbench.report import palette
from llmbench.report.charts import Chart, layout
from llmbench.report.results import CaseResults, Results, request_key
from llmbench.report.sections.timeline import SEGMENTS
from llmbench.report.table import Cell, Column, Table, count, missing, quantity
from llmbench.runs.run import Run

LISTED = 5
SORTED_BY = ("e2e", "ttft")
UNKNOWN = {
    "e2e": "its last stamp is not known",
    "ttft": "its first stamp is not known",
    "queue_time": "the backend does not tell when it started",
    "longest_gap": "it has one chunk only",
}

Found = tuple[CaseResults, Run, RecordArrays, int]


def slowest(results: Results, latency: str) -> Table:
    """List the answered requests of each case with the longest latency (``e2e``, ``ttft``)."""
    columns = (
        Column("request", numeric=False),
        *(Column(LATENCIES.get(span, span.replace("_", " "))) for span in UNKNOWN),
        Column("prompt tokens"),
        Column("output tokens"),
    )
    rows = tuple(_row(*found) for case in results.measured for found in _slowest(case, latency))
    note = f"The {LISTED} slowest of each case that were answered, of all its processes."
    return Table(f"Slowest by {LATENCIES[latency]}", columns, rows, note)


def listed(results: Results) -> dict[str, set[int]]:
    """Give the ids of the requests that are listed, by the name of their run."""
    ids: dict[str, set[int]] = {}
    for case in results.measured:
        for latency in SORTED_BY:
            for _, run, observed, place in _slowest(case, latency):
                ids.setdefault(run.name, set()).add(_of(observed, place, "request_id"))
    return ids


def _slowest(case: CaseResults, latency: str) -> list[Found]:
    found = sorted(_longest(case, latency), key=lambda it: -it[0])
    return [where for _, where in found[:LISTED]]


def _longest(case: CaseResults, latency: str) -> Iterator[tuple[float, Found]]:
    """Go through the slowest requests of each process."""
    for run, observed in zip(case.runs, case.observed, strict=True):
        sample: NDArray[np.float64] = getattr(observed, latency)
        known = np.flatnonzero(~np.isnan(sample))
        for place in known[np.argsort(sample[known], kind="stable")[-LISTED:]]:
            yield float(sample[place]), (case, run, observed, int(place))


def _row(case: CaseResults, run: Run, observed: RecordArrays, place: int) -> tuple[Cell, ...]:
    number = _of(observed, place, "request_id")
    opens = request_key(case.name, run.repeat, number)
    prompt = _of(observed, place, "prompt_tokens")
    return (
        Cell(f"{case.name} #{number}", detail=f"run {run.repeat}", opens=opens),
        *(quantity(getattr(observed, span)[place], "s", why) for span, why in UNKNOWN.items()),
        missing("its length is not known") if prompt is None else count(prompt),
        count(_of(observed, place, "output_tokens")),
    )


def _of(observed: RecordArrays, place: int, column: str) -> Any:
    return observed.good[column][place].as_py()


# -- the waterfall ---------------------------------------------------------------------------------

SPANS = {
    "unsent": ("until it is sent", palette.MUTED),
    **{key: (label, color) for key, (label, color, _) in SEGMENTS.items()},
}
SAYS = (
    "From the due time at the top: each bar is a span of the request's time, from the stages before"
    " its first chunk to the gaps between chunks. A long bar is where it waited."
)


def waterfall() -> Chart:
    """Give a bar trace for each kind of span (``meta.span``), with nothing in it yet."""
    figure = go.Figure(
        [
            go.Bar(
                orientation="h",
                name=label,
                meta={"span": key},
                marker={"color": color},
                hovertemplate="%{customdata}<extra></extra>",
            )
            for key, (label, color) in SPANS.items()
        ],
        layout(
            barmode="overlay",
            bargap=0.1,
            height=360,
            showlegend=True,
            legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
            xaxis={"title": {"text": "seconds since the load began"}, "showgrid": True},
            yaxis={"showgrid": False, "tickmode": "array"},
        ),
    )
    return Chart("waterfall", "Waterfall", figure, SAYS)
