"""Whether runs meet their scenario's objectives, and the requests beyond each objective's bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.metrics import TIMES, RecordArrays, requests_where
from llmbench.analysis.stats import percentile, percentile_interval
from llmbench.runs.run import Run
from llmbench.scenario.slo import Objective
from llmbench.units import format_duration

Status = Literal["met", "missed", "open"]


@dataclass(frozen=True, slots=True)
class AttainedPercentile:
    """An objective, and its percentile over the pooled requests of runs with its 95 % interval.

    ``value`` is infinite if too many requests failed, and NaN without requests.
    """

    key: str
    bound: float
    value: float
    low: float
    high: float

    @property
    def status(self) -> Status:
        """Whether the interval lies within the bound, beyond it, or on both sides."""
        return "met" if self.high <= self.bound else "missed" if self.low > self.bound else "open"


def percentiles(
    runs: Sequence[Run], arrays: Sequence[RecordArrays] | None = None
) -> list[AttainedPercentile]:
    """Return the percentile of every objective over the pooled requests of runs at one load.

    ``arrays`` are the runs' records as arrays, if already computed.
    """
    processes = list(zip(runs, arrays or [RecordArrays(run.records) for run in runs], strict=True))
    return [_attained(processes, key, bound) for key, bound in runs[0].case.spec["slo"].items()]


def attainment(attained: Sequence[AttainedPercentile], *, is_valid: bool) -> Status:
    """Return whether all objectives are met: missed if any is, open if any is.

    An objective is met if the upper end of its percentile's 95 % interval is within the bound,
    missed if the lower end is not, and open otherwise. Failed requests count as infinitely slow,
    abandoned ones not at all. If the harness did not keep up (not ``is_valid``), the result is
    open.
    """
    statuses = {percentile.status for percentile in attained} if is_valid else {"open"}
    return "missed" if "missed" in statuses else "open" if "open" in statuses else "met"


def _attained(
    processes: Sequence[tuple[Run, RecordArrays]], key: str, bound: float
) -> AttainedPercentile:
    objective = Objective.of(key)
    sample = np.concatenate([_sample(*process, objective) for process in processes])
    interval = percentile_interval(sample, objective.percent)
    return AttainedPercentile(key, bound, _percentile(sample, objective.percent), *interval)


def _percentile(sample: NDArray[np.float64], percent: float) -> float:
    if not len(sample):
        return float("nan")
    upper = float(np.percentile(sample, percent, method="higher"))
    return percentile(sample, percent) if np.isfinite(upper) else upper


def label(key: str) -> str:
    """Return an objective in words, such as ``TTFT p99`` or ``chat: TTFT p95``."""
    objective = Objective.of(key)
    of_class = f"{objective.request_class}: " if objective.request_class else ""
    return f"{of_class}{TIMES[objective.quantity]} p{objective.percent:g}"


@dataclass(frozen=True, slots=True)
class Exceedance:
    """The number of a run's requests (or jobs) that are slower than the bound of an objective."""

    key: str
    bound: float
    slow: int
    requests: int

    @property
    def things(self) -> str:
        """What is counted: requests, or jobs."""
        return "jobs" if Objective.of(self.key).is_of_jobs else "requests"

    @property
    def allowed(self) -> float:
        """The share of requests that may be slower: 0.01 for a p99."""
        return 1 - Objective.of(self.key).percent / 100

    @property
    def met(self) -> bool:
        """Whether no more requests are slower than the objective allows, in this run."""
        return self.slow <= self.allowed * self.requests + 1e-9

    def __str__(self) -> str:
        return (
            f"{label(self.key)}: {self.slow} of {self.requests} {self.things} above "
            f"{format_duration(self.bound)} ({self.allowed * self.requests:.3g} allowed)"
        )


def exceedances(run: Run) -> tuple[Exceedance, ...]:
    """Return the requests beyond each objective's bound; a failed request is beyond all of them."""
    found, arrays = [], RecordArrays(run.records)
    for key, bound in run.case.spec["slo"].items():
        sample = _sample(run, arrays, Objective.of(key))
        found.append(Exceedance(key, bound, int((sample > bound).sum()), len(sample)))
    return tuple(found)


def _sample(run: Run, arrays: RecordArrays, objective: Objective) -> NDArray[np.float64]:
    """Return the latencies of the objective's class of requests, infinite for failed ones.

    Abandoned requests are left out. For an objective of jobs, they are the job times.
    """
    if objective.request_class:
        of_class = requests_where(run, "request_class", objective.request_class)
        arrays = RecordArrays(of_class.records)
    if objective.is_of_jobs:
        return np.append(arrays.jobs.seconds, np.full(arrays.jobs.failed, np.inf))
    good = getattr(arrays, objective.quantity)
    return np.append(good[~np.isnan(good)], np.full(arrays.failed, np.inf))
