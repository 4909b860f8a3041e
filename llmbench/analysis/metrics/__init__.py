"""What a run's records and series amount to: pure functions of what is stored.

Formulas stand in docs/metrics.md. A value that cannot be had is None with its reason.
"""

from __future__ import annotations

from llmbench.analysis.metrics.named import (
    LATENCIES,
    METRICS,
    PHASE_PEAKS,
    STAGES,
    Metric,
    Value,
    metric_key,
)
from llmbench.analysis.metrics.observed import RecordArrays
from llmbench.analysis.metrics.outputs import quality_values
from llmbench.analysis.metrics.runs import (
    across,
    across_summaries,
    commonest_error,
    errors_by_kind,
    only,
    parts,
)
from llmbench.analysis.metrics.series import series_mean, series_rise
from llmbench.analysis.metrics.summary import summarize

__all__ = [
    "LATENCIES",
    "METRICS",
    "PHASE_PEAKS",
    "STAGES",
    "Metric",
    "RecordArrays",
    "Value",
    "across",
    "across_summaries",
    "commonest_error",
    "errors_by_kind",
    "metric_key",
    "only",
    "parts",
    "quality_values",
    "series_mean",
    "series_rise",
    "summarize",
]
