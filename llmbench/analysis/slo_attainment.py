"""Whether the runs at one load meet their scenario's objectives, at 95 % confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmbench.analysis.harness_validity import validity_of
from llmbench.analysis.metrics import LATENCIES, RecordArrays, requests_where
from llmbench.analysis.stats import percentile_interval
from llmbench.runs.run import Run
from llmbench.scenario.slo import Objective
from llmbench.units import format_duration

Status = Literal["met", "missed", "open"]


@dataclass(frozen=True, slots=True)
class Attainment:
    """Whether a load meets the objectives, with the reasons if not.

    ``harness_limited``: the harness itself did not keep up with the load.
    """

    at: float
    verdict: Status
    reasons: tuple[str, ...] = ()
    harness_limited: bool = False

    @property
    def met(self) -> bool:
        """Whether the objectives are met with confidence; ``open`` counts as not met."""
        return self.verdict == "met"


def attainment(at: float, runs: list[Run]) -> Attainment:
    """Judge the runs at one load, with their requests pooled.

    An objective is met if the upper end of its percentile's 95 % interval is within the bound,
    missed if the lower end is not, and open otherwise. Failed requests count as infinitely slow. If
    the harness did not keep up, the result is open.
    """
    validities = [validity_of(run) for run in runs]
    if any(validity.verdict == "invalid" for validity in validities):
        reasons = sorted({reason for validity in validities for reason in validity.reasons})
        limited = tuple(f"the harness is at its limit: {reason}" for reason in reasons)
        return Attainment(at, "open", limited, harness_limited=True)
    judged = [_judge(runs, key, bound) for key, bound in runs[0].case.spec["slo"].items()]
    statuses = {status for status, _ in judged}
    overall: Status = "missed" if "missed" in statuses else "open" if "open" in statuses else "met"
    return Attainment(at, overall, tuple(reason for status, reason in judged if status != "met"))


def _judge(runs: list[Run], key: str, limit: float) -> tuple[Status, str]:
    objective = Objective.of(key)
    if objective.request_class:
        runs = [requests_where(run, "request_class", objective.request_class) for run in runs]
    sample = np.concatenate([_sample(run, objective.quantity) for run in runs])
    low, high = percentile_interval(sample, objective.percent)
    of_class = f"{objective.request_class}: " if objective.request_class else ""
    percentile = f"{of_class}{LATENCIES[objective.quantity]} p{objective.percent:g}"
    reason = (
        f"{percentile} {_format_interval(low, high)} "
        f"(objective {format_duration(limit)}, {len(sample)} samples)"
    )
    if high <= limit:
        return "met", reason
    return ("missed" if low > limit else "open"), reason


def _sample(run: Run, quantity: str) -> np.ndarray:
    arrays = RecordArrays(run.records)
    good = getattr(arrays, quantity)
    failed = arrays.measured.num_rows - arrays.good.num_rows
    return np.append(good[~np.isnan(good)], np.full(failed, np.inf))


def _format_interval(low: float, high: float) -> str:
    """Format a latency interval, whose ends are infinite if too few requests succeeded."""
    if low == np.inf:
        return "not reached, since requests failed"
    if np.isfinite(low) and np.isfinite(high):
        return f"{format_duration(low)} to {format_duration(high)}"
    if np.isfinite(low):
        return f"≥ {format_duration(low)}"
    return f"≤ {format_duration(high)}" if np.isfinite(high) else "not known"
