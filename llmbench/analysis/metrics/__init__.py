"""Metrics: pure functions of a run's stored records and series. docs/metrics.md has the formulas.

An unmeasured metric is None with the reason.
"""

from __future__ import annotations

from llmbench.analysis.metrics.catalog import (
    LATENCIES,
    METRICS,
    PHASE_PEAKS,
    STAGES,
    TIMES,
    Metric,
    metric_key,
)
from llmbench.analysis.metrics.quality import quality_values
from llmbench.analysis.metrics.record_arrays import (
    RecordArrays,
    commonest_error,
    errors_by_kind,
    requests_where,
    split_runs,
)
from llmbench.analysis.metrics.summary import across, across_summaries, summarize
from llmbench.analysis.values import Value, series_mean, series_rise

__all__ = [
    "LATENCIES",
    "METRICS",
    "PHASE_PEAKS",
    "STAGES",
    "TIMES",
    "Metric",
    "RecordArrays",
    "Value",
    "across",
    "across_summaries",
    "commonest_error",
    "errors_by_kind",
    "metric_key",
    "quality_values",
    "requests_where",
    "series_mean",
    "series_rise",
    "split_runs",
    "summarize",
]
