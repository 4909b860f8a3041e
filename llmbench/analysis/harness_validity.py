"""Whether the harness kept up, so that measured latencies are those of the backend.

docs/metrics.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmbench.analysis.metrics import RecordArrays, Value, summarize
from llmbench.analysis.stats import percentile
from llmbench.runs.run import Run
from llmbench.runs.run_set import RunSet
from llmbench.units import format_duration

Rating = Literal["valid", "unknown", "degraded", "invalid"]
RATINGS: tuple[Rating, ...] = ("valid", "unknown", "degraded", "invalid")
BY_BOUNDS: tuple[Rating, ...] = ("valid", "degraded", "invalid")

# bounds of degraded and invalid: seconds of lag, or a fraction of the median TTFT if greater
LAG_SECONDS = (0.001, 0.010)
LAG_SHARE = (0.01, 0.10)
CORE_SHARE = (0.7, 0.95)


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether a run's harness kept up with the load, with the symptoms if it may not have.

    ``unknown``: no symptoms, but too little data for ``valid``.
    """

    verdict: Rating
    reasons: tuple[str, ...] = ()


def validity_of(
    run: Run, summary: dict[str, Value], arrays: RecordArrays | None = None
) -> Validity:
    """Judge a measured run from its backend's report and its metrics (metrics.summarize).

    ``arrays`` are its records as arrays, if already computed.
    """
    arrays = arrays or RecordArrays(run.records)
    symptoms = [symptom for symptom in _symptoms(run, summary, arrays) if symptom[0] != "valid"]
    ratings: list[Rating] = ["valid", *(rating for rating, _ in symptoms)]
    return Validity(max(ratings, key=RATINGS.index), tuple(reason for _, reason in symptoms))


def worst_validity(validities: list[Validity]) -> Validity:
    """Return the worst validity of a case's processes; the first one in a tie."""
    return max(validities, key=lambda v: RATINGS.index(v.verdict), default=Validity("valid"))


def validity_by_case(run_set: RunSet) -> dict[str, Validity]:
    """Judge every measured case of a run set."""
    return {
        case: worst_validity([validity_of(run, summarize(run)) for run in runs])
        for case, runs in run_set.by_case().items()
        if runs
    }


def _symptoms(
    run: Run, summary: dict[str, Value], arrays: RecordArrays
) -> Iterator[tuple[Rating, str]]:
    client = run.backend_report.get("client") or {}
    if tool := client.get("tool"):
        yield "unknown", f"{tool} does not report whether its client kept up"
    ttft = summary["ttft_p50"].value or 0.0
    lag = summary["send_lag_p99"].value if client else _idle_lag(arrays)
    yield _late("requests were sent", lag, ttft)
    yield _late("the client's event loop was", client.get("loop_lag_p99"), ttft)
    share = client.get("core_share")
    if share is not None:
        yield _rated(share, CORE_SHARE), f"the client used {share:.0%} of its CPU core"


def _idle_lag(arrays: RecordArrays) -> float | None:
    """Return the p99 of a local engine's idle lag in seconds; None if no request has one."""
    known = arrays.idle_lag[~np.isnan(arrays.idle_lag)]
    return percentile(known, 99) if len(known) else None


def _late(subject: str, lag: float | None, ttft: float) -> tuple[Rating, str]:
    if lag is None:
        return "valid", ""
    bounds = [max(lag, share * ttft) for lag, share in zip(LAG_SECONDS, LAG_SHARE, strict=True)]
    return _rated(lag, bounds), f"{subject} {format_duration(lag)} late (p99)"


def _rated(value: float, bounds: Sequence[float]) -> Rating:
    return BY_BOUNDS[sum(value > bound for bound in bounds)]
