"""The charts of a report as plotly figures, for notebooks.

    import llmbench
    from llmbench import figures

    run_set = llmbench.load("results/...")
    figures.ttft_ecdf(run_set)

Each function returns a figure of a run set's report and raises InputError if there is nothing to
draw.
"""

from __future__ import annotations

from collections.abc import Collection

import plotly.graph_objects as go

from llmbench.analysis.metrics import LATENCIES, METRICS
from llmbench.errors import InputError
from llmbench.report import charts
from llmbench.report.charts import Chart
from llmbench.report.frames import RunSet
from llmbench.report.interactivity import AGAINST
from llmbench.report.results import Results
from llmbench.report.sections import interactivity as fronts
from llmbench.report.sections import timeline as timelines
from llmbench.report.sections.load import load_curves
from llmbench.report.sections.tradeoffs import pareto


def ecdf(run_set: RunSet, latency: str) -> go.Figure:
    """Return the ECDF of a latency, given as a key of metrics.LATENCIES such as ``ttft``."""
    return _figure(charts.latency_ecdf(_results(run_set), _known(latency, LATENCIES, "latency")))


def ttft_ecdf(run_set: RunSet) -> go.Figure:
    """Return the ECDF of the time to first token."""
    return ecdf(run_set, "ttft")


def itl_ecdf(run_set: RunSet) -> go.Figure:
    """Return the ECDF of the inter-token latency: the gaps between chunks."""
    return ecdf(run_set, "itl")


def tpot_ecdf(run_set: RunSet) -> go.Figure:
    """Return the ECDF of the time per output token."""
    return ecdf(run_set, "tpot")


def e2e_ecdf(run_set: RunSet) -> go.Figure:
    """Return the ECDF of the end-to-end latency."""
    return ecdf(run_set, "e2e")


def throughput(run_set: RunSet, metric: str = "output_tokens_per_second") -> go.Figure:
    """Return a bar chart of a metric (a key of metrics.METRICS) by case, with intervals."""
    return _figure(charts.throughput(_results(run_set), _known(metric, METRICS, "metric")))


def load_curve(run_set: RunSet, latency: str = "ttft") -> go.Figure:
    """Return a chart of the p50 and p99 of a latency (a key of metrics.LATENCIES) against load."""
    curves = load_curves(_results(run_set), [_known(latency, LATENCIES, "latency")])
    if not curves:
        raise InputError(
            f"{run_set.stored.folder}: no backend was measured at several loads; sweep load.rate "
            "or load.concurrency"
        )
    return _figure(curves[latency])


def interactivity(run_set: RunSet, metric: str = "output_tokens_per_second") -> go.Figure:
    """Return a chart of a metric against tokens/s per user, one line per backend and setting.

    The metric is ``output_tokens_per_second``, drawn per device, or an energy or a cost per token.
    """
    charts = {chart.key: chart for chart, _ in fronts.interactivity(_results(run_set))}
    chart = charts.get(f"interactivity-{_known(metric, AGAINST, 'metric')}")
    if chart is None:
        raise InputError(
            f"{run_set.stored.folder}: no sweep measured {metric} and TPOT; sweep load.rate or "
            "load.concurrency"
        )
    return _figure(chart)


def quality(run_set: RunSet) -> go.Figure:
    """Return a chart of speed, weight memory and, if measured, energy against KL divergence."""
    return _figure(pareto(_results(run_set)))


def cold_start(run_set: RunSet) -> go.Figure:
    """Return a bar chart of each case's cold-start time by stage, until step times are steady."""
    return _figure(charts.cold_start(_results(run_set)))


def timeline(run_set: RunSet, case: str) -> go.Figure:
    """Return a chart of the requests and machine readings of a case's first run over time."""
    cases = {measured.name: measured for measured in _results(run_set).measured}
    return _figure(timelines.timeline(cases[_known(case, cases, "measured case")]))


def _results(run_set: RunSet) -> Results:
    results = Results(run_set.stored)
    if not results.measured:
        raise InputError(f"{run_set.stored.folder}: no run was measured")
    return results


def _known(name: str, names: Collection[str], what: str) -> str:
    if name not in names:
        raise InputError(f"unknown {what} {name!r}; known: {', '.join(names)}")
    return name


def _figure(chart: Chart) -> go.Figure:
    if chart.empty:
        raise InputError(f"{chart.title}: nothing to draw: {chart.empty}")
    return chart.figure
