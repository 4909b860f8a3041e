"""The largest batch that fitted in memory, where a sweep went beyond it."""

from __future__ import annotations

from collections.abc import Iterator

from llmbench.errors import OutOfMemoryError
from llmbench.report.results import CaseResults, Results
from llmbench.scenario.schema import case_name

KEYS = ("engine.slots", "load.concurrency")


def fitted(results: Results) -> Iterator[str]:
    """Say of each backend at which point of a sweep memory ran out, and what fitted below it."""
    failed = {run.case: run.failure for run in results.run_set.failed if run.failure}
    refused = {case for case, why in failed.items() if why.kind == OutOfMemoryError.kind}
    for key in KEYS:
        for name, cases in _alike(results.cases, key).items():
            yield from _told(name, key, cases, refused)


def _alike(cases: list[CaseResults], key: str) -> dict[str, list[CaseResults]]:
    """Group the cases that differ in a key of the sweep alone, the least of it first."""
    groups: dict[str, list[CaseResults]] = {}
    for case in sorted((c for c in cases if key in c.point), key=lambda c: c.point[key]):
        backend = case.name.partition(", ")[0]
        others = {k: v for k, v in case.point.items() if k != key}
        groups.setdefault(case_name(backend, others), []).append(case)
    return groups


def _told(name: str, key: str, cases: list[CaseResults], refused: set[str]) -> Iterator[str]:
    beyond = [case.point[key] for case in cases if case.name in refused]
    if not beyond:
        return
    inside = [case.point[key] for case in cases if case.runs and case.point[key] < beyond[0]]
    if inside:
        yield f"{name}: {key}={inside[-1]} fitted in memory, {beyond[0]} did not."
    else:
        yield f"{name}: {key}={beyond[0]} did not fit in memory, and no smaller one was measured."
