"""Where the time of a local engine went: a table, and a strip of the timeline."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from llmbench.analysis.engine_time import ACTIVITIES, KEYS, activity_of
from llmbench.report import palette, table
from llmbench.report.results import Results
from llmbench.report.table import Table
from llmbench.runs.run import Run
from llmbench.runs.series import Series

NOTE = (
    "Shares of the time from the start of the load, warm-up requests included, to the last step. A "
    "step includes the engine's own work before it; the engine is idle while no request waits or "
    "runs, or while a batch waits for more. Figures are means over processes."
)
PREEMPTIONS = "preemptions"
TITLE = "engine time: prefill, decode, idle (%)"
COLORS = dict(
    zip(ACTIVITIES, (palette.PREFILL, palette.DECODE, palette.pale(palette.QUEUE)), strict=True)
)


def engine_time(results: Results) -> Table:
    """Return the shares of prefill, decode and idle time by case; no rows without an engine."""
    cases = [case for case in results.measured if case.estimates[KEYS[0]].value is not None]
    labels = (*ACTIVITIES, None)
    columns = [table.metric_column(*column) for column in zip(KEYS, labels, strict=True)]
    if any(case.estimates[PREEMPTIONS].value is not None for case in cases):
        columns.append(table.metric_column(PREEMPTIONS))
    return table.by_case("Time of the engine", cases, columns, (NOTE,) if cases else ())


def shares(run: Run) -> tuple[Series, ...]:
    """Return the shares of a run's engine time over time, or nothing."""
    return tuple(series for series in run.series if activity_of(series) and len(series.times))


def area(series: Series, drawn: NDArray[np.int64]) -> go.Scatter:
    """Return an activity's share over time as an area that is stacked on the others."""
    activity = activity_of(series) or ""
    return go.Scatter(
        mode="lines",
        name=activity,
        x=series.times[drawn],
        y=series.values[drawn],
        stackgroup="engine",
        line={"width": 0, "shape": "vh"},
        fillcolor=COLORS[activity],
        showlegend=False,
        hovertemplate=f"%{{x:.3f}} s: %{{y:.1f}} % {activity}<extra></extra>",
    )
