"""Whether the runs at one load meet the objectives of their scenario, at 95 % confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from llmbench.analysis.harness_validity import judge
from llmbench.analysis.metrics import RecordArrays, only, summarize
from llmbench.analysis.stats import percentile_interval
from llmbench.runs.run import Run
from llmbench.scenario.schema import Objective
from llmbench.units import format_duration, parse_seconds

Verdict = Literal["met", "missed", "open"]
AT_LIMIT = "the harness is at its limit"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one load showed: whether the objectives are met, and why not where they are not."""

    at: float
    verdict: Verdict
    reasons: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether they are shown to be met; what is open is not."""
        return self.verdict == "met"

    @property
    def is_at_limit(self) -> bool:
        """Whether it is the harness that could not go on."""
        return any(reason.startswith(AT_LIMIT) for reason in self.reasons)


def probe(at: float, runs: list[Run]) -> Probe:
    """Judge the runs at one load, their requests pooled.

    An objective is met when the upper end of its percentile's 95 % interval is within the bound,
    missed when the lower end is not, and open in between. Failed requests count as infinitely
    slow. A client that did not keep up leaves everything open.
    """
    health = [judge(run, summarize(run)) for run in runs]
    if any(each.verdict == "invalid" for each in health):
        reasons = {reason for each in health for reason in each.reasons}
        return Probe(at, "open", tuple(f"{AT_LIMIT}: {reason}" for reason in sorted(reasons)))
    judged = [_judged(runs, key, bound) for key, bound in runs[0].spec["slo"].items()]
    verdicts = {verdict for verdict, _ in judged}
    whole: Verdict = "missed" if "missed" in verdicts else "open" if "open" in verdicts else "met"
    return Probe(at, whole, tuple(reason for verdict, reason in judged if verdict != "met"))


def _judged(runs: list[Run], key: str, bound: Any) -> tuple[Verdict, str]:
    objective = Objective.of(key)
    if objective.request_class:
        runs = [only(run, "request_class", objective.request_class) for run in runs]
    sample = np.concatenate(
        [_sample(RecordArrays(run.records), objective.quantity) for run in runs]
    )
    limit = parse_seconds(bound)
    low, high = percentile_interval(sample, objective.percent)
    seen = f"{objective} is {_between(low, high)}, {format_duration(limit)} is asked"
    if high <= limit:
        return "met", seen
    return ("missed" if low > limit else "open"), f"{seen} ({len(sample)} samples)"


def _sample(observed: RecordArrays, quantity: str) -> np.ndarray:
    good = getattr(observed, quantity)
    failed = observed.measured.num_rows - observed.good.num_rows
    return np.append(good[~np.isnan(good)], np.full(failed, np.inf))


def _between(low: float, high: float) -> str:
    """Word an interval; its ends are infinite where too few requests, or failed ones, decide."""
    if low == np.inf:
        return "not reached, since requests failed"
    if np.isfinite(low) and np.isfinite(high):
        return f"{format_duration(low)} to {format_duration(high)}"
    if np.isfinite(low):
        return f"{format_duration(low)} or more"
    return f"{format_duration(high)} or less" if np.isfinite(high) else "not known"
