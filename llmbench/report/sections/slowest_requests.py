"""The slowest requests of each case, and the waterfall of a single request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from llmbench.analysis.metrics import LATENCIES, RecordArrays
from llmbench.report import palette
from llmbench.report.charts import LEGEND, Chart, axis, layout
from llmbench.report.results import CaseResults, Results, request_key
from llmbench.report.sections.timeline import SEGMENTS
from llmbench.report.table import Cell, Column, Table, count, missing, quantity, text_columns
from llmbench.runs.run import Run

LISTED, ROWS = 5, 300  # requests of a case, and of all cases unless these are more
SORTED_BY = ("e2e", "ttft")
UNKNOWN = {
    "e2e": "its last timestamp is unknown",
    "ttft": "its first timestamp is unknown",
    "queue_time": "the backend does not report when it started",
    "longest_gap": "it has only one chunk",
}

Listed = tuple[CaseResults, Run, RecordArrays, int]


def slowest(results: Results, latency: str) -> Table:
    """Return the successful requests of each case with the longest latency (``e2e``, ``ttft``)."""
    columns = (
        *text_columns("request"),
        *(Column(LATENCIES.get(span, span.replace("_", " "))) for span in UNKNOWN),
        *map(Column, ("prompt tokens", "output tokens")),
    )
    rows = tuple(_row(*request) for request in _slowest(results, latency))
    most = _most(results)
    requests = "slowest successful request" if most == 1 else f"{most} slowest successful requests"
    note = f"The {requests} of each case, over all its processes."
    return Table(f"Slowest by {LATENCIES[latency]}", columns, rows, note)


def listed(results: Results) -> dict[str, set[int]]:
    """Return the ids of the requests in the tables of slowest requests, as a set per run name."""
    ids: dict[str, set[int]] = {}
    for latency in SORTED_BY:
        for _, run, observed, index in _slowest(results, latency):
            ids.setdefault(run.name, set()).add(_of(observed, index, "request_id"))
    return ids


def _most(results: Results) -> int:
    """Return how many requests of each case are listed: fewer of many cases, but at least one."""
    return max(1, min(LISTED, ROWS // max(1, len(results.measured))))


def _slowest(results: Results, latency: str) -> Iterator[Listed]:
    """Yield the slowest requests of each case."""
    for case in results.measured:
        longest = sorted(_longest(case, latency), key=lambda it: -it[0])
        yield from (request for _, request in longest[: _most(results)])


def _longest(case: CaseResults, latency: str) -> Iterator[tuple[float, Listed]]:
    """Yield the slowest requests of each process, with their latency in seconds."""
    for run, observed in zip(case.runs, case.observed, strict=True):
        sample: NDArray[np.float64] = getattr(observed, latency)
        known = np.flatnonzero(~np.isnan(sample))
        for index in known[np.argsort(sample[known], kind="stable")[-LISTED:]]:
            yield float(sample[index]), (case, run, observed, int(index))


def _row(case: CaseResults, run: Run, observed: RecordArrays, index: int) -> tuple[Cell, ...]:
    number = _of(observed, index, "request_id")
    opens = request_key(case.name, run.repeat, number)
    prompt = _of(observed, index, "prompt_tokens")
    return (
        Cell(f"{case.name} #{number}", detail=f"run {run.repeat}", opens=opens),
        *(quantity(getattr(observed, span)[index], "s", UNKNOWN[span]) for span in UNKNOWN),
        missing("its length is unknown") if prompt is None else count(prompt),
        count(_of(observed, index, "output_tokens")),
    )


def _of(observed: RecordArrays, index: int, column: str) -> Any:
    return observed.good[column][index].as_py()


# -- the waterfall ---------------------------------------------------------------------------------

_LOOKS = {key: (label, color) for key, (label, color, _) in SEGMENTS.items()}
SPANS = {
    "unsent": ("send lag", palette.MUTED),
    "connect": ("connecting", palette.INK),
    "queue": _LOOKS["queue"],
    "prefill": _LOOKS["prefill"],
    "waiting": _LOOKS["waiting"],
    "rest": ("rest of TTFT", palette.WAITING),
    "decode": _LOOKS["decode"],
}
CAPTION = (
    "Each bar is a span of the request, from its due time at the top: the stages before the first"
    " chunk, then the gaps between chunks. Times that a server reports of itself are drawn from"
    " sending on; the rest of TTFT, the network and what it does not report, comes after them."
)


def waterfall() -> Chart:
    """Return a figure that the page fills: an empty bar trace per kind of span (``meta.span``)."""
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
            legend=LEGEND,
            xaxis=axis("seconds since the load began", showgrid=True),
            yaxis={"showgrid": False, "tickmode": "array"},
        ),
    )
    return Chart("waterfall", "Waterfall", figure, CAPTION)
