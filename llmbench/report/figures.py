"""The charts of a report as plotly figures, for notebooks.

    import llmbench
    from llmbench import figures

    found = llmbench.load("results/...")
    figures.ttft_ecdf(found)

Each function takes a run set and gives the figure that its report has; it raises InputError where
there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Collection

import plotly.graph_objects as go

from llmbench.analysis.metrics import LATENCIES, METRICS
from llmbench.errors import InputError
from llmbench.report import charts
from llmbench.report.charts import Chart
from llmbench.report.frames import RunSet
from llmbench.report.results import Results
from llmbench.report.sections import timeline as timelines
from llmbench.report.sections.load import load_curves
from llmbench.report.sections.tradeoffs import pareto


def ecdf(run_set: RunSet, latency: str) -> go.Figure:
    """Draw the share of requests that are as fast as each latency (metrics.LATENCIES) or faster."""
    return _figure(charts.latency_ecdf(_results(run_set), _known(latency, LATENCIES, "latency")))


def ttft_ecdf(run_set: RunSet) -> go.Figure:
    """Draw the distribution of the time to the first token."""
    return ecdf(run_set, "ttft")


def itl_ecdf(run_set: RunSet) -> go.Figure:
    """Draw the distribution of the gaps between chunks."""
    return ecdf(run_set, "itl")


def tpot_ecdf(run_set: RunSet) -> go.Figure:
    """Draw the distribution of the time per output token."""
    return ecdf(run_set, "tpot")


def e2e_ecdf(run_set: RunSet) -> go.Figure:
    """Draw the distribution of the time to the last token."""
    return ecdf(run_set, "e2e")


def throughput(run_set: RunSet, metric: str = "output_tokens_per_second") -> go.Figure:
    """Draw a metric (metrics.METRICS) of each case, with its interval and every process."""
    return _figure(charts.throughput(_results(run_set), _known(metric, METRICS, "metric")))


def load_curve(run_set: RunSet, latency: str = "ttft") -> go.Figure:
    """Draw the p50 and the p99 of a latency (metrics.LATENCIES) against the load."""
    curves = load_curves(_results(run_set), [_known(latency, LATENCIES, "latency")])
    if not curves:
        raise InputError(f"{run_set.stored.folder}: no backend was measured at several loads")
    return _figure(curves[latency])


def quality(run_set: RunSet) -> go.Figure:
    """Draw what each case costs against how far its outputs are from the reference's."""
    return _figure(pareto(_results(run_set)))


def cold_start(run_set: RunSet) -> go.Figure:
    """Draw what each case costs before it answers, and until it is steady."""
    return _figure(charts.cold_start(_results(run_set)))


def timeline(run_set: RunSet, case: str) -> go.Figure:
    """Draw the requests of the first run of a case, and the machine on the same axis."""
    cases = {each.name: each for each in _results(run_set).measured}
    return _figure(timelines.timeline(cases[_known(case, cases, "measured case")]))


def _results(run_set: RunSet) -> Results:
    results = Results(run_set.stored)
    if not results.measured:
        raise InputError(f"{run_set.stored.folder}: no run of it was measured; there is no figure")
    return results


def _known(name: str, names: Collection[str], what: str) -> str:
    if name not in names:
        raise InputError(f"no {what} is called {name!r}; there are: {', '.join(names)}")
    return name


def _figure(chart: Chart) -> go.Figure:
    if chart.empty:
        raise InputError(f"{chart.title}: nothing to draw: {chart.empty}")
    return chart.figure
