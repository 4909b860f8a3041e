"""Whether runs meet their scenario's objectives, and the requests beyond each objective's bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.harness_validity import validity_of
from llmbench.analysis.metrics import LATENCIES, RecordArrays, requests_where
from llmbench.analysis.stats import percentile_interval
from llmbench.runs.run import Run
from llmbench.scenario.slo import Objective
from llmbench.units import format_duration

Status = Literal["met", "missed", "open"]


def attainment(runs: Sequence[Run]) -> Status:
    """Return whether the runs at one load meet the objectives, with their requests pooled.

    An objective is met if the upper end of its percentile's 95 % interval is within the bound,
    missed if the lower end is not, and open otherwise. Failed requests count as infinitely slow. If
    the harness did not keep up, the result is open.
    """
    if any(validity_of(run).verdict == "invalid" for run in runs):
        return "open"
    statuses = {_judge(runs, key, bound) for key, bound in runs[0].case.spec["slo"].items()}
    return "missed" if "missed" in statuses else "open" if "open" in statuses else "met"


def _judge(runs: Sequence[Run], key: str, bound: float) -> Status:
    objective = Objective.of(key)
    sample = np.concatenate([_sample(run, objective) for run in runs])
    low, high = percentile_interval(sample, objective.percent)
    return "met" if high <= bound else "missed" if low > bound else "open"


@dataclass(frozen=True, slots=True)
class Exceedance:
    """The number of a run's requests that are slower than the bound of an objective."""

    key: str
    bound: float
    slow: int
    requests: int

    @property
    def allowed(self) -> float:
        """The share of requests that may be slower: 0.01 for a p99."""
        return 1 - Objective.of(self.key).percent / 100

    @property
    def met(self) -> bool:
        """Whether no more requests are slower than the objective allows, in this run."""
        return self.slow <= self.allowed * self.requests + 1e-9

    def __str__(self) -> str:
        objective = Objective.of(self.key)
        of_class = f"{objective.request_class}: " if objective.request_class else ""
        return (
            f"{of_class}{LATENCIES[objective.quantity]} p{objective.percent:g}: {self.slow} of "
            f"{self.requests} requests above {format_duration(self.bound)} "
            f"({self.allowed * self.requests:.3g} allowed)"
        )


def exceedances(run: Run) -> tuple[Exceedance, ...]:
    """Return the requests beyond each objective's bound; a failed request is beyond all of them."""
    found = []
    for key, bound in run.case.spec["slo"].items():
        sample = _sample(run, Objective.of(key))
        found.append(Exceedance(key, bound, int((sample > bound).sum()), len(sample)))
    return tuple(found)


def _sample(run: Run, objective: Objective) -> NDArray[np.float64]:
    """Return the latencies of the objective's class of requests, infinite for failed ones."""
    if objective.request_class:
        run = requests_where(run, "request_class", objective.request_class)
    arrays = RecordArrays(run.records)
    good = getattr(arrays, objective.quantity)
    failed = arrays.measured.num_rows - arrays.good.num_rows
    return np.append(good[~np.isnan(good)], np.full(failed, np.inf))
