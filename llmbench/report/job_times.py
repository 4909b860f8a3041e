"""Sentences on the jobs of agents: how long they took, and what their time went to."""

from __future__ import annotations

from collections.abc import Iterator

from llmbench.analysis.metrics.catalog import PATH_PARTS
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import show
from llmbench.report.wording import MAX_NAMED, listed

SMALLEST_SHARE = 0.005  # of a job's time; rounded to 1 %


def sentences(results: Results) -> list[str]:
    """Return a sentence per case with complete jobs, for a few cases; empty without jobs."""
    cases = [case for case in results.measured if case.estimates["job_mean"].value is not None]
    more = len(cases) - MAX_NAMED
    rest = [f"The job times of {more} more cases are in the table of jobs."] if more > 0 else []
    return [*map(_sentence, cases[:MAX_NAMED]), *rest]


def _sentence(case: CaseResults) -> str:
    number = sum(len(observed.jobs.complete) for observed in case.observed)
    times = [f"{show(case.estimates[f'job_p{p}'].value or 0.0, 's')} (p{p})" for p in (50, 95)]
    jobs = "1 job" if number == 1 else f"{number:,} jobs"
    shares = listed([f"{100 * share:.0f} % {part}" for part, share in _shares(case)])
    of_path = f"; of the critical path, {shares}" if shares else ""
    return f"{case.name}: {jobs} took {' and '.join(times)}{of_path}."


def _shares(case: CaseResults) -> Iterator[tuple[str, float]]:
    """Yield the parts of the critical path with their shares, the largest first."""
    known = [(part, case.estimates[f"job_path_{part}_seconds"].value or 0.0) for part in PATH_PARTS]
    whole = sum(seconds for _, seconds in known)
    for part, seconds in sorted(known, key=lambda one: -one[1]):
        if whole and seconds / whole >= SMALLEST_SHARE:
            yield part, seconds / whole
