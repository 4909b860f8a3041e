"""Reasons to doubt the results: those stored with the runs and those that the numbers show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llmbench.analysis.energy import AGREES_WITHIN
from llmbench.analysis.metrics import LATENCIES, METRICS, commonest_error
from llmbench.analysis.stats import MIN_PROCESSES, min_samples_for_percentile
from llmbench.report.results import CaseResults, Results
from llmbench.runs import caveats
from llmbench.runs.caveats import Caveat
from llmbench.runs.run import Failure
from llmbench.runs.store import RunSet

JUDGED = ("ttft", "itl", "tpot", "e2e")
GATED_PERCENT = 99
FEW = 3
ABOVE_ROOF = 1.05  # a copy through the same accounting is 1 to within this
FIGURES = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class Finding:
    """A caveat, the cases that it concerns and the runs among them (none: the case as a whole).

    ``variants`` are the same caveat with other figures, from other runs of the case.
    """

    caveat: Caveat
    cases: tuple[str, ...]
    runs: tuple[str, ...] = ()
    variants: tuple[Caveat, ...] = ()

    @property
    def message(self) -> str:
        """What is the matter, and whether other runs say the same with other figures."""
        if not self.variants:
            return self.caveat.message
        return f"{self.caveat.message} (So in {len(self.runs)} runs, the figures vary.)"


def find(results: Results) -> list[Finding]:
    """List every caveat once, with all that it concerns, the most concerned first."""
    concerned: dict[tuple[Caveat, ...], dict[str, list[str]]] = {}
    for case in results.cases:
        for alike, runs in _of_case(case).items():
            concerned.setdefault(alike, {})[case.name] = runs
    found = [
        Finding(
            alike[0], tuple(cases), tuple(run for runs in cases.values() for run in runs), alike[1:]
        )
        for alike, cases in concerned.items()
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


def _of_case(case: CaseResults) -> dict[tuple[Caveat, ...], list[str]]:
    """Give the caveats of a case, those alike but for their figures together, with their runs."""
    alike: dict[tuple[str, str], dict[Caveat, list[str]]] = {}
    for run in case.runs:
        for caveat in run.caveats:
            shape = caveat.kind, FIGURES.sub("#", caveat.message)
            alike.setdefault(shape, {}).setdefault(caveat, []).append(run.name)
    of_runs = {
        tuple(told): [run for runs in told.values() for run in runs] for told in alike.values()
    }
    return of_runs | {(caveat,): [] for caveat in _of_numbers(case) if (caveat,) not in of_runs}


def _of_numbers(case: CaseResults) -> Iterator[Caveat]:
    """Give the caveats that the numbers of a case show."""
    if case.runs:
        yield from _failures(case)
        yield from _harness(case)
        yield from _sample_sizes(case)
        yield from _energy(case)
        yield from _above_roofs(case)


def _failures(case: CaseResults) -> Iterator[Caveat]:
    if case.failed_requests:
        found = next(filter(None, map(commonest_error, case.runs)), "unknown")
        yield caveats.requests_failed(case.failed_requests, case.requests, found)


def _harness(case: CaseResults) -> Iterator[Caveat]:
    # what is unknown of the client is said by the stored caveat of the import
    if case.health.verdict in ("degraded", "invalid"):
        yield caveats.harness(case.health.verdict, case.health.reasons)


def _above_roofs(case: CaseResults) -> Iterator[Caveat]:
    for metric in ("mbu", "mfu"):
        share = max((s[metric].value or 0.0 for s in case.summaries), default=0.0)
        if share > ABOVE_ROOF:
            yield caveats.above_roof(METRICS[metric].label, share)


def _sample_sizes(case: CaseResults) -> Iterator[Caveat]:
    if len(case.runs) < MIN_PROCESSES:
        yield caveats.few_repeats(len(case.runs))
    too_few: dict[int, list[str]] = {}
    for latency in JUDGED:
        n = case.fewest(f"{latency}_p{GATED_PERCENT}")
        if 0 < n < min_samples_for_percentile(GATED_PERCENT):
            too_few.setdefault(n, []).append(LATENCIES[latency])
    for n, names in too_few.items():
        label = f"p{GATED_PERCENT} of {', '.join(names)}"
        yield caveats.unsupported_percentile(label, n, min_samples_for_percentile(GATED_PERCENT))


def _energy(case: CaseResults) -> Iterator[Caveat]:
    """Doubt energies of short windows, and counters that nothing or something else speaks for."""
    measured = [part for parts in case.energy_parts for part in parts]
    short = [part for part in measured if part.seconds < part.least_seconds]
    for part in sorted(short, key=lambda part: part.seconds)[:1]:
        yield caveats.short_energy_window(part.seconds, part.least_seconds)
    for part in {part.name: part for part in measured if part.method == "nvml-counter"}.values():
        if part.disagreement is None:
            yield caveats.energy_unverified(part.name)
        elif part.disagreement > AGREES_WITHIN:
            yield caveats.energy_disagrees(part.name, part.disagreement)
