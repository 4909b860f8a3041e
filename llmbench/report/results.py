"""The metrics of a run set, computed once for all tables and charts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis import energy
from llmbench.analysis.attained_rate import AttainedRate, asked_rate, keeps_up
from llmbench.analysis.compare.judge import Processes
from llmbench.analysis.energy import CounterEnergy
from llmbench.analysis.harness_validity import Validity, validity_of, worst_validity
from llmbench.analysis.metrics import RecordArrays, Value, across_summaries, split_runs, summarize
from llmbench.analysis.slo_attainment import AttainedPercentile, Status, attainment, percentiles
from llmbench.analysis.values import Estimate
from llmbench.errors import Unavailable
from llmbench.runs.run import PlannedRun, Run
from llmbench.runs.run_set import RunSet


@dataclass(frozen=True)
class CaseResults:
    """The measured runs of a case and their metrics.

    ``index`` is its position in the scenario and selects its color and dash.
    """

    index: int
    planned: PlannedRun
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """The name of the case, as displayed."""
        return self.planned.case.name

    def split(self, column: str, label: str) -> Iterator[CaseResults]:
        """Yield the case once per value of a request column, with only the matching requests."""
        for value, runs in split_runs(self.runs, column).items():
            case = replace(self.planned.case, name=f"{self.name}, {label} {value}")
            yield CaseResults(self.index, replace(self.planned, case=case), tuple(runs))

    @property
    def backend(self) -> str:
        """The backend's name in the scenario."""
        return self.planned.case.backend_name

    @property
    def point(self) -> dict[str, Any]:
        """The case's value of each swept key; empty without a sweep."""
        return self.planned.case.point

    @cached_property
    def observed(self) -> list[RecordArrays]:
        """The request records of each process, as arrays."""
        return [RecordArrays(run.records) for run in self.runs]

    @cached_property
    def summaries(self) -> list[dict[str, Value]]:
        """Every metric of each process, by name."""
        return [summarize(*it) for it in zip(self.runs, self.observed, strict=True)]

    @property
    def processes(self) -> Processes:
        """The runs and their metrics, for the judge of comparisons and claims."""
        return Processes(self.runs, tuple(self.summaries))

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Every metric over the processes, with its interval, by name."""
        return across_summaries(self.summaries)

    def pooled(self, latency: str) -> NDArray[np.float64]:
        """Return the known values of a latency in seconds, pooled over processes."""
        samples = [getattr(observed, latency) for observed in self.observed]
        pooled = np.concatenate(samples) if samples else np.empty(0)
        known: NDArray[np.float64] = pooled[~np.isnan(pooled)]
        return known

    @cached_property
    def percentiles(self) -> list[AttainedPercentile]:
        """The percentile of each objective over all requests; empty without objectives or runs."""
        has_objectives = self.runs and self.planned.case.spec.get("slo")
        return percentiles(self.runs, self.observed) if has_objectives else []

    @property
    def objectives(self) -> Status | None:
        """Whether the runs meet the scenario's objectives; None without objectives or runs."""
        if not self.percentiles:
            return None
        return attainment(self.percentiles, is_valid=self.validity.verdict != "invalid")

    @cached_property
    def attained(self) -> AttainedRate | None:
        """The asked and the answered rate of an open loop; None if either is unknown."""
        asked = asked_rate(self.planned.case.spec.get("load") or {})
        answered = self.estimates["requests_per_second"].value
        if asked is None or answered is None:
            return None
        return AttainedRate(asked, answered, keeps_up(self.observed))

    @cached_property
    def validity(self) -> Validity:
        """The worst harness validity among the processes."""
        processes = zip(self.runs, self.observed, strict=True)
        return worst_validity([validity_of(*process) for process in processes])

    @cached_property
    def energy_parts(self) -> list[list[CounterEnergy]]:
        """The energy by counter, for each process in which it was measured."""
        return [
            parts
            for run, observed in zip(self.runs, self.observed, strict=True)
            if (parts := _energy_parts(run, observed))
        ]

    def fewest(self, metric: str) -> int:
        """Return a metric's smallest sample size over processes."""
        return min((summary[metric].n for summary in self.summaries), default=0)

    @property
    def is_summary(self) -> bool:
        """Whether a run has only the values of a summary, without requests."""
        return any(run.summary is not None for run in self.runs)

    @property
    def has_requests(self) -> bool:
        """Whether the numbers of requests and of failed ones are known."""
        return any(summary["failed_requests"].value is not None for summary in self.summaries)

    @property
    def requests(self) -> int:
        """The number of measured requests in all processes."""
        return sum(summary["failed_requests"].n for summary in self.summaries)

    @property
    def failed_requests(self) -> int:
        """The number of measured requests that failed, were rejected or did not finish."""
        return sum(int(summary["failed_requests"].value or 0) for summary in self.summaries)

    @property
    def abandoned_requests(self) -> int:
        """The number of measured requests whose users gave up."""
        return sum(int(summary["abandoned_requests"].value or 0) for summary in self.summaries)

    @property
    def abandoned_tokens(self) -> int:
        """The number of output tokens that abandoned requests received."""
        return sum(int(summary["abandoned_output_tokens"].value or 0) for summary in self.summaries)


def is_lower(one: Estimate, other: Estimate) -> bool:
    """Return whether an estimate's interval is known and lies entirely below another's."""
    return one.high is not None and other.low is not None and one.high < other.low


def request_key(case: str, repeat: int, request_id: int) -> str:
    """Return the key with which the page looks up the embedded record of a request."""
    return f"{case}/{repeat}/{request_id}"


def _energy_parts(run: Run, observed: RecordArrays) -> list[CounterEnergy]:
    try:
        return energy.counter_energies(run, observed.window)
    except Unavailable:  # the metrics state the reason
        return []


_latest: list[Results] = []


def results_of(run_set: RunSet) -> Results:
    """Return the results of a run set; kept, since page and terminal show the same ones."""
    if not (_latest and _latest[0].run_set is run_set):
        _latest[:] = [Results(run_set)]
    return _latest[0]


@dataclass(frozen=True)
class Results:
    """A run set and the results of its cases, in the scenario's order."""

    run_set: RunSet

    @cached_property
    def cases(self) -> list[CaseResults]:
        """Every planned case, measured or not."""
        planned = {p.case.name: p for p in reversed(self.run_set.plan)}
        return [
            CaseResults(index, planned[case], tuple(runs))
            for index, (case, runs) in enumerate(self.run_set.by_case().items())
        ]

    @cached_property
    def measured(self) -> list[CaseResults]:
        """The cases with at least one measured run."""
        return [case for case in self.cases if case.runs]

    def processes(self) -> Iterator[tuple[CaseResults, Run, RecordArrays]]:
        """Yield every measured run with its case and its records as arrays."""
        for case in self.measured:
            for run, observed in zip(case.runs, case.observed, strict=True):
                yield case, run, observed

    @property
    def spec(self) -> dict[str, Any]:
        """The scenario of the first planned run as plain data; empty for an empty plan."""
        return self.run_set.plan[0].case.spec if self.run_set.plan else {}
