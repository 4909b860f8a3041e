"""What a run's records and series amount to: pure functions of what is stored.

Formulas stand in docs/metrics.md. A value that cannot be had is None with its reason.
"""

from __future__ import annotations

from llmbench.metrics.named import LATENCIES, METRICS, PHASE_PEAKS, STAGES, Metric, Value
from llmbench.metrics.observed import Observed
from llmbench.metrics.outputs import quality_values
from llmbench.metrics.runs import (
    across,
    across_summaries,
    commonest_error,
    errors_by_kind,
    only,
    parts,
)
from llmbench.metrics.series import series_mean, series_rise
from llmbench.metrics.summary import summarise

__all__ = [
    "LATENCIES",
    "METRICS",
    "PHASE_PEAKS",
    "STAGES",
    "Metric",
    "Observed",
    "Value",
    "across",
    "across_summaries",
    "commonest_error",
    "errors_by_kind",
    "only",
    "parts",
    "quality_values",
    "series_mean",
    "series_rise",
    "summarise",
]
