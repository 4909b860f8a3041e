"""Where the time of requests goes: a stacked bar and a row per case."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import plotly.graph_objects as go

from llmbench.analysis.latency_budget import PARTS, budget
from llmbench.analysis.stats import Floats
from llmbench.report import palette, table
from llmbench.report.charts import (
    PATTERNS,
    Chart,
    axis,
    drawn_cases,
    left_out,
    stacked,
    stacked_bar,
)
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import Cell, Column, ColumnOf, Table, show

HEADINGS = {
    "send": ("until sent", "from the due time until the request was sent"),
    "connect": ("connecting", "opening a connection; 0 over an open one"),
    "queue": ("queue", "of the backend, or of the server by its own clock"),
    "prefill": ("prefill", "of the backend, or of the server by its own clock"),
    "rest": ("rest of TTFT", "network, HTTP, and all that the server does not report"),
    "decode": ("decode", "from the first token to the last"),
}
COLORS = (
    palette.WAITING, palette.INK, palette.QUEUE, palette.PREFILL, palette.MUTED, palette.DECODE,
)  # fmt: skip
NOTE = (
    "Means over the successful requests of all processes, which add up to the mean E2E; p99 below "
    "them do not."
)
UNREPORTED = "the server does not report it for each response; it is part of the rest"

Budget = Mapping[str, Floats]


def chart(results: Results) -> Chart:
    """Draw the mean time of each part of a request, stacked, one bar per case."""
    cases = drawn_cases(results.measured)
    budgets = [budget(case.observed) for case in cases]
    means = {part: [_mean(of.get(part)) for of in budgets] for part in PARTS}
    looks = zip(PARTS, COLORS, PATTERNS, strict=True)
    figure = go.Figure(
        [stacked_bar(cases, HEADINGS[part][0], means[part], look) for part, *look in looks],
        stacked(len(cases), axis("seconds", rangemode="tozero")),
    )
    data = budget_table(results)
    empty = "" if data.rows else "no case was measured"
    return Chart(
        "latency-budget", data.title, figure, NOTE, left_out(results.measured), empty, (data,)
    )


def _mean(seconds: Floats | None) -> float | None:
    return None if seconds is None or not len(seconds) else float(seconds.mean())


def budget_table(results: Results) -> Table:
    """Return the mean and the p99 of each part of a request, and of the whole, one row per case."""
    budgets = {case.index: budget(case.observed) for case in results.measured}
    columns: list[ColumnOf] = [
        (Column(*HEADINGS[part]), partial(_part, budgets, part)) for part in PARTS
    ]
    columns += [
        (Column("E2E", "from the due time to the last token"), partial(_whole, budgets)),
        (Column("round trip", "to the server, the least of several before the load"), _round_trip),
    ]
    return table.by_case("Where the time goes", results.measured, columns, (NOTE,))


def _part(budgets: Mapping[int, Budget], part: str, case: CaseResults) -> Cell:
    seconds = budgets[case.index].get(part)
    return table.missing(UNREPORTED) if seconds is None else _summary(seconds)


def _whole(budgets: Mapping[int, Budget], case: CaseResults) -> Cell:
    return _summary(np.sum([*budgets[case.index].values()], axis=0))


def _summary(seconds: Floats) -> Cell:
    if not len(seconds):
        return table.missing("no request succeeded")
    p99 = f"p99 {show(float(np.percentile(seconds, 99)), 's')}"
    return table.quantity(float(seconds.mean()), "s", detail=p99)


def _round_trip(case: CaseResults) -> Cell:
    client = [run.backend_report.get("client", {}).get("round_trip") for run in case.runs]
    known = [seconds for seconds in client if seconds is not None]
    return table.quantity(min(known, default=None), "s", "no server over a network")
