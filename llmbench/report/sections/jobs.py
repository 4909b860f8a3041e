"""The jobs of agents: completion times, critical paths, and cache hits along a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go

from llmbench.analysis.jobs import cache_hits
from llmbench.analysis.metrics.catalog import PATH_PARTS
from llmbench.report import palette, table
from llmbench.report.charts import (
    PATTERNS,
    Chart,
    Distribution,
    axis,
    drawn_cases,
    ecdf_chart,
    left_out,
    stacked,
    stacked_bar,
)
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import DAGGER, INTERVALS, Cell, Column, ColumnOf, Table

TIMES = Distribution(
    "ecdf-jobs",
    "Job time",
    "The share of complete jobs at or below each job time; further left is faster.",
    "no measured job is complete",
)
TITLE, PATHS = "Jobs", "Critical path of jobs"
COLORS = (palette.WAITING, palette.QUEUE, palette.PREFILL, palette.DECODE, palette.MUTED)
NOTE = (
    "Means over the complete jobs. The critical path ends with the request answered last; the "
    "predecessor of a request on it is, of all that it depends on, the one answered last. The "
    "parts add up to the mean job time. Tools: until the next request was due. Rest: the network, "
    "HTTP, and all that the server does not report."
)
HITS_NOTE = (
    "By the number of earlier requests in the job; only responses in which the server reports "
    "cached tokens."
)


def has_jobs(case: CaseResults) -> bool:
    """Return whether any run of a case has measured jobs."""
    return any(observed.jobs.all for observed in case.observed)


def jobs(results: Results) -> Table:
    """Return the number, rate and times of jobs, one row per case; no rows without jobs."""
    cases = [case for case in results.measured if has_jobs(case)]
    columns: list[ColumnOf] = [
        (Column("jobs", "complete or failed, in all runs"), _judged),
        (Column("failed", "with a request that failed or did not finish"), _failed),
        table.metric_column("jobs_per_hour", "jobs/h"),
        *(table.percentile_column("job", percent) for percent in (50, 95, 99)),
        table.metric_column("job_mean"),
        table.metric_column("job_cached_share", "cached tokens"),
    ]
    return table.by_case(TITLE, cases, columns, (INTERVALS, DAGGER))


def _paths(cases: Sequence[CaseResults]) -> Table:
    columns = [*(table.metric_column(_key(part), part) for part in PATH_PARTS)]
    return table.by_case(PATHS, cases, [*columns, table.metric_column("job_mean")], (NOTE,))


def _key(part: str) -> str:
    return f"job_path_{part}_seconds"


def _judged(case: CaseResults) -> Cell:
    return table.count(sum(observed.jobs.judged for observed in case.observed))


def _failed(case: CaseResults) -> Cell:
    return table.count(sum(observed.jobs.failed for observed in case.observed))


def times(results: Results) -> Chart:
    """Draw the ECDF of the job times, with one line per case."""
    cases = [case for case in results.measured if has_jobs(case)]
    samples = {
        case.index: np.concatenate([one.jobs.seconds for one in case.observed]) for case in cases
    }
    return ecdf_chart(TIMES, cases, samples)


def chart(results: Results) -> Chart:
    """Draw the mean time of each part of the critical path, stacked, one bar per case."""
    with_jobs = [case for case in results.measured if has_jobs(case)]
    cases = drawn_cases(with_jobs)
    looks = zip(PATH_PARTS, COLORS, PATTERNS, strict=False)
    figure = go.Figure(
        [
            stacked_bar(cases, part, [case.estimates[_key(part)].value for case in cases], look)
            for part, *look in looks
        ],
        stacked(len(cases), axis("seconds", rangemode="tozero")),
    )
    data = _paths(with_jobs)
    is_drawn = any(case.estimates["job_mean"].value is not None for case in cases)
    empty = "" if is_drawn else "no measured job is complete"
    return Chart("critical-path", PATHS, figure, NOTE, left_out(with_jobs), empty, (data,))


def hits(results: Results) -> Table:
    """Return the cached share of prompts by depth in the job; no rows without reports of it."""
    columns = (
        *table.text_columns("case"),
        *map(Column, ("requests before", "prompt tokens", "cached tokens", "cached share")),
    )
    rows = tuple(row for case in results.measured for row in _hits(case))
    return Table("Prompt cache along a job", columns, rows, HITS_NOTE)


def _hits(case: CaseResults) -> Iterator[tuple[Cell, ...]]:
    for depth, (cached, whole) in cache_hits([one.jobs for one in case.observed]).items():
        yield (
            Cell(case.name),
            table.count(depth),
            table.count(whole),
            table.count(cached),
            table.quantity(cached / whole if whole else None, "share", "no prompt tokens"),
        )
