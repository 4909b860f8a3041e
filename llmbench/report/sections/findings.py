"""Caveats about the results: stored with the runs, or derived from their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from llmbench.analysis.compare.differences import hardware_of
from llmbench.analysis.energy import AGREES_WITHIN
from llmbench.analysis.metrics import LATENCIES, METRICS, commonest_error
from llmbench.analysis.stats import MIN_PROCESSES, min_samples_for_percentile
from llmbench.report.results import CaseResults, Results
from llmbench.runs.caveats import SEVERITIES, Caveat, message_of_all
from llmbench.runs.run import Failure
from llmbench.runs.run_set import RunSet

JUDGED = ("ttft", "itl", "tpot", "e2e")
GATED_PERCENT = 99
FEW = 3
ABOVE_ROOF = 1.05  # of the measured peak; a plain copy reaches 1


@dataclass(frozen=True, slots=True)
class Finding:
    """Caveats with the same key, and the cases and runs that they concern.

    ``runs`` is empty if they concern whole cases.
    """

    caveats: tuple[Caveat, ...]
    cases: tuple[str, ...]
    runs: tuple[str, ...] = ()

    @property
    def caveat(self) -> Caveat:
        """The first caveat; all have its kind and remedy."""
        return self.caveats[0]

    @property
    def message(self) -> str:
        """The message of all caveats, with ranges where their numbers differ between runs."""
        if len(self.caveats) == 1:
            return self.caveat.message
        counted = f"{len(self.runs)} runs" if self.runs else f"{len(self.cases)} cases"
        return f"{message_of_all(self.caveats).removesuffix('.')} ({counted})."


def find(results: Results) -> list[Finding]:
    """Return the findings, most severe first, then by decreasing number of cases."""
    caveats: dict[tuple[str, ...], dict[Caveat, None]] = {}
    concerned: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for case in results.cases:
        for caveat, runs in _of_case(case):
            caveats.setdefault(caveat.key, {})[caveat] = None
            concerned.setdefault(caveat.key, {}).setdefault(case.name, []).extend(runs)
    findings = [
        Finding(tuple(caveats[key]), tuple(cases), tuple(chain.from_iterable(cases.values())))
        for key, cases in concerned.items()
    ]
    return sorted(findings, key=_order)


def _order(finding: Finding) -> tuple[int, int]:
    return SEVERITIES.index(finding.caveat.severity), -len(finding.cases)


def scope(finding: Finding, results: Results) -> str:
    """Return the names or the number of the cases that a finding concerns."""
    if len(finding.cases) == len(results.measured) > 1:
        return "all cases"
    if len(finding.cases) > FEW:
        return f"{len(finding.cases)} cases"
    return ", ".join(finding.cases)


def failures(run_set: RunSet) -> dict[Failure, list[str]]:
    """Return each distinct failure with the names of its runs."""
    names: dict[Failure, list[str]] = {}
    for run in run_set.failed:
        if run.failure:
            names.setdefault(run.failure, []).append(run.name)
    return names


def _of_case(case: CaseResults) -> Iterator[tuple[Caveat, list[str]]]:
    """Yield the caveats of a case with the run that has each; without one if all have it."""
    stored = {caveat for run in case.runs for caveat in run.caveats}
    for run in case.runs:
        yield from ((caveat, [run.name]) for caveat in run.caveats)
    yield from ((caveat, []) for caveat in _of_numbers(case) if caveat not in stored)


def _of_numbers(case: CaseResults) -> Iterator[Caveat]:
    """Yield the caveats that follow from a case's results and are not stored with its runs."""
    if case.runs:
        yield from _failures(case)
        yield from _harness(case)
        yield from _hardware(case)
        yield from _sample_sizes(case)
        yield from _energy(case)
        yield from _above_roofs(case)


def _failures(case: CaseResults) -> Iterator[Caveat]:
    if case.failed_requests:
        yield Caveat(
            "requests-failed",
            failed=case.failed_requests,
            total=case.requests,
            commonest=next(filter(None, map(commonest_error, case.runs)), None),
        )


def _harness(case: CaseResults) -> Iterator[Caveat]:
    # "unknown" already has a stored caveat, "imported"
    if case.validity.verdict in ("degraded", "invalid"):
        yield Caveat(f"harness-{case.validity.verdict}", reasons=case.validity.reasons)


def _hardware(case: CaseResults) -> Iterator[Caveat]:
    seen = [hardware_of(run.environment) for run in case.runs if run.environment]
    values = {what: {one[what] for one in seen} for what in (seen[0] if seen else ())}
    if differing := [what for what, each in values.items() if len(each) > 1]:
        yield Caveat("mixed-hardware", differing=differing)


def _above_roofs(case: CaseResults) -> Iterator[Caveat]:
    for metric in ("mbu", "mfu"):
        share = max((s[metric].value or 0.0 for s in case.summaries), default=0.0)
        if share > ABOVE_ROOF:
            yield Caveat("above-roof", label=METRICS[metric].label, share=share)


def _sample_sizes(case: CaseResults) -> Iterator[Caveat]:
    if case.is_summary:  # "imported-summary" says why there is no interval
        pass
    elif len(case.runs) < MIN_PROCESSES:
        yield Caveat("few-repeats", count=len(case.runs))
    elif not case.runs[0].case.is_seeded_per_repeat:
        yield Caveat("one-schedule")
    too_few: dict[int, list[str]] = {}
    for latency in JUDGED:
        n = case.fewest(f"{latency}_p{GATED_PERCENT}")
        if 0 < n < min_samples_for_percentile(GATED_PERCENT):
            too_few.setdefault(n, []).append(LATENCIES[latency])
    for n, latencies in too_few.items():
        yield Caveat(
            "unsupported-percentile",
            percentile=f"p{GATED_PERCENT}",
            latencies=latencies,
            n=n,
            floor=min_samples_for_percentile(GATED_PERCENT),
        )


def _energy(case: CaseResults) -> Iterator[Caveat]:
    measured = [part for parts in case.energy_parts for part in parts]
    short = [part for part in measured if part.seconds < part.min_seconds]
    for part in sorted(short, key=lambda part: part.seconds)[:1]:
        yield Caveat("short-energy-window", seconds=part.seconds, least=part.min_seconds)
    for part in {part.name: part for part in measured if part.method == "nvml-counter"}.values():
        if part.disagreement is None:
            yield Caveat("energy-unverified", part=part.name)
        elif part.disagreement > AGREES_WITHIN:
            yield Caveat("energy-disagrees", part=part.name, percent=100 * part.disagreement)
