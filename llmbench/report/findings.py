"""Reasons to doubt the results: those stored with the runs and those that the numbers show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llmbench import caveats
from llmbench.caveats import Caveat
from llmbench.metrics import LATENCIES
from llmbench.report.results import CaseResults, Results
from llmbench.run import Failure
from llmbench.stats import MIN_PROCESSES, percentile_floor
from llmbench.store import RunSet

__all__ = ["Finding", "failures", "find", "place"]

LATE_SECONDS = 0.5e-3
JUDGED = ("ttft", "itl", "tpot", "e2e")
GATED_PERCENT = 99
FEW = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """A caveat, the cases that it concerns and the runs among them (none: the case as a whole)."""

    caveat: Caveat
    cases: tuple[str, ...]
    runs: tuple[str, ...] = ()


def find(results: Results) -> list[Finding]:
    """List every caveat once, with all that it concerns, the most concerned first."""
    concerned: dict[Caveat, dict[str, list[str]]] = {}
    for case in results.cases:
        for caveat, run in _of_case(case):
            runs = concerned.setdefault(caveat, {}).setdefault(case.name, [])
            runs += [run] if run else []
    found = [
        Finding(caveat, tuple(cases), tuple(run for runs in cases.values() for run in runs))
        for caveat, cases in concerned.items()
    ]
    return sorted(found, key=lambda finding: -len(finding.cases))


def place(finding: Finding, results: Results) -> str:
    """Say where a finding holds: in all cases, in these, or in so many."""
    if len(finding.cases) == len(results.measured) > 1:
        return "all cases"
    if len(finding.cases) > FEW:
        return f"{len(finding.cases)} cases"
    return ", ".join(finding.cases)


def failures(run_set: RunSet) -> dict[Failure, list[str]]:
    """Gather the names of the runs that failed in the same way."""
    names: dict[Failure, list[str]] = {}
    for run in run_set.failed:
        if run.failure:
            names.setdefault(run.failure, []).append(run.name)
    return names


def _of_case(case: CaseResults) -> Iterator[tuple[Caveat, str]]:
    """Give each caveat of a case with the run it came from, or with "" for the case itself."""
    for run in case.runs:
        for caveat in run.caveats:
            yield caveat, run.name
    if case.runs:
        for caveat in (*_failures(case), *_lateness(case), *_sample_sizes(case)):
            yield caveat, ""


def _failures(case: CaseResults) -> Iterator[Caveat]:
    if case.failed_requests:
        yield caveats.requests_failed(case.failed_requests, case.requests)


def _lateness(case: CaseResults) -> Iterator[Caveat]:
    lag = case.estimates["send_lag_seconds_p99"].value
    if lag is not None and lag > _tolerated_lag(case):
        yield caveats.late_load(lag)


def _tolerated_lag(case: CaseResults) -> float:
    """Say how late a send may be in seconds.

    A local engine takes requests in between two steps, so up to a step of lag is its way of
    working and not the harness's lateness; a client over the wire has no such excuse.
    """
    step = case.estimates["itl_seconds_p99"].value
    is_local = case.runs[0].backend != "endpoint"
    return max(LATE_SECONDS, step or 0.0) if is_local else LATE_SECONDS


def _sample_sizes(case: CaseResults) -> Iterator[Caveat]:
    if len(case.runs) < MIN_PROCESSES:
        yield caveats.few_repeats(len(case.runs))
    too_few: dict[int, list[str]] = {}
    for latency in JUDGED:
        n = case.fewest(f"{latency}_seconds_p{GATED_PERCENT}")
        if 0 < n < percentile_floor(GATED_PERCENT):
            too_few.setdefault(n, []).append(LATENCIES[latency])
    for n, names in too_few.items():
        label = f"p{GATED_PERCENT} of {', '.join(names)}"
        yield caveats.unsupported_percentile(label, n, percentile_floor(GATED_PERCENT))
