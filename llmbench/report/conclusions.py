"""Conclusions from the results, as sentences: the answer that leads every form of a report."""

from __future__ import annotations

from collections.abc import Iterator

from llmbench.errors import OutOfMemoryError
from llmbench.report import costs, hardware, job_times, objectives
from llmbench.report.headline import headline
from llmbench.report.results import CaseResults, Results
from llmbench.report.sections import under_load
from llmbench.report.tuning import searched
from llmbench.report.wording import named
from llmbench.scenario.cases import case_name
from llmbench.units import parse_rate

MAX_SENTENCES = 12  # shown at once


def completeness(results: Results) -> str:
    """Return how many planned runs were measured, failed or are pending, as a sentence."""
    plan, failed = len(results.run_set.plan), len(results.run_set.failed)
    waiting = plan - len(results.run_set.runs)
    if not plan:
        return "No runs planned."
    parts = [f"{plan - failed - waiting} of {plan:,} run{'' if plan == 1 else 's'} measured"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{waiting} not measured yet"] if waiting else []
    return f"{', '.join(parts)}."


def answer(results: Results) -> list[str]:
    """Return the sentences that lead a report, in the order of a reader's questions.

    Which setting a search found, what was attained of the objectives, which case is faster and by
    how much, whether its answers are those without load, how long jobs took, what it costs in
    quality, memory and energy, what each kind of node costs, what did not fit in memory, and which
    cases have no results.
    """
    settings = searched(results.run_set)
    return [
        *([settings.conclusion] if settings else []),
        *objectives.sentences(results),
        *headline(results),
        *under_load.sentences(results),
        *job_times.sentences(results),
        *costs.sentences(results),
        *hardware.sentences(results),
        *_of_memory(results),
        *_without_results(results),
    ]


def _without_results(results: Results) -> Iterator[str]:
    """Yield which cases of several have only failed runs."""
    failed = {run.case.name for run in results.run_set.failed}
    names = [case.name for case in results.cases if not case.runs and case.name in failed]
    if names and results.measured:
        verb = "has" if len(names) == 1 else "have"
        yield f"{named(names)} {verb} no results: every run failed."


# -- memory ----------------------------------------------------------------------------------------

SWEPT = ("engine.slots", "load.concurrency")


def _of_memory(results: Results) -> Iterator[str]:
    """Yield the largest swept value that fit in memory, for each backend that ran out of it."""
    failures = {run.case.name: run.failure for run in results.run_set.failed if run.failure}
    refused = {case for case, f in failures.items() if f.kind == OutOfMemoryError.kind}
    for key in SWEPT:
        for name, cases in _by_other_keys(results.cases, key).items():
            beyond = [case for case in cases if case.name in refused]
            if beyond:
                yield f"{name}: {_limit(key, cases, beyond[0])}"


def _by_other_keys(cases: list[CaseResults], key: str) -> dict[str, list[CaseResults]]:
    """Group the cases that differ only in one swept key, ordered by its value."""
    groups: dict[str, list[CaseResults]] = {}
    for case in sorted((c for c in cases if key in c.point), key=lambda c: _value(c, key)):
        others = {k: v for k, v in case.point.items() if k != key}
        groups.setdefault(case_name(case.backend, others), []).append(case)
    return groups


def _limit(key: str, cases: list[CaseResults], beyond: CaseResults) -> str:
    inside = [case for case in cases if case.runs and _value(case, key) < _value(beyond, key)]
    if inside:
        return f"{key}={inside[-1].point[key]} fit in memory, {beyond.point[key]} did not."
    return f"{key}={beyond.point[key]} did not fit in memory; no smaller value was measured."


def _value(case: CaseResults, key: str) -> float:
    """Return a case's value of a swept number, which may be written as text."""
    return parse_rate(case.point[key])
