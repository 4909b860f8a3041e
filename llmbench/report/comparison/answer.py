"""The sentences that lead a comparison: what is incomplete, the largest changes, the counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmbench.analysis.compare.comparison import CaseComparison, Comparison
from llmbench.analysis.compare.verdicts import MOST_REPEATS, Change, Verdict
from llmbench.analysis.metrics import METRICS
from llmbench.report.conclusions import completeness
from llmbench.report.results import Results
from llmbench.report.table import show_interval
from llmbench.report.wording import named

MARKS = {
    "regression": "▲ regression",
    "undecided": "! undecided",
    "improvement": "▼ improvement",
    "equivalent": "= equivalent",
    "inconclusive": "? inconclusive",
    "not comparable": "≠ not comparable",
}
PROVEN = {"regression": "a regression", "improvement": "an improvement"}
MAX_CHANGES = 5


@dataclass(frozen=True, slots=True)
class _Changed:
    """A metric of a case that changed, or may have, by more than its tolerance."""

    case: CaseComparison
    key: str
    verdict: Verdict
    change: Change

    @property
    def order(self) -> tuple[bool, float]:
        """Proven changes come first, then by size."""
        return self.verdict.outcome not in PROVEN, -abs(math.log(self.change.ratio))

    def __str__(self) -> str:
        metric = METRICS[self.key]
        values = show_interval(*self.case.values[self.key], metric.unit, " → ")
        unit = "" if metric.unit in ("s", "B", "share") else f" {metric.unit}"
        head = f"{metric.label} of {self.case.case}: {self.change.percent} ({values}{unit})"
        if proven := PROVEN.get(self.verdict.outcome):
            return f"{head}, {proven} (95 % interval {self.change.interval})."
        return f"{head}, {self._unproven()}."

    def _unproven(self) -> str:
        if self.verdict.outcome == "undecided":
            return "undecided after all confirmations"
        if self.verdict.reason:
            return f"unproven: {self.verdict.reason}"
        if self.verdict.repeats is None:
            return f"unproven; more than {MOST_REPEATS} processes per side would be needed"
        has_spread = min(self.case.baseline_runs, self.case.candidate_runs) > 1
        about = "about" if has_spread else "at least"
        return f"unproven; {about} {self.verdict.repeats} processes per side would tell"


def answer(comparison: Comparison) -> list[str]:
    """Return what is incomplete or not comparable, the largest changes, and the counts."""
    return [*_incomplete(comparison), *_largest(comparison), counted(comparison)]


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the ``--json`` output of a comparison: its answer and its data."""
    return {"answer": answer(comparison), **comparison.as_json()}


def counted(comparison: Comparison) -> str:
    """Return the number of verdicts by outcome as a sentence."""
    if not comparison.cases:
        return "Nothing was compared: the two sides have no case in common."
    counts = Counter[str](v.outcome for case in comparison.cases for v in case.verdicts.values())
    outcomes = [_numbered(counts[outcome], outcome) for outcome in MARKS if counts[outcome]]
    cases = len(comparison.cases)
    return f"{', '.join(outcomes)} in {cases} case{'s' * (cases > 1)}."


def _numbered(number: int, outcome: str) -> str:
    """Return a number of outcomes; nouns have a plural: 2 regressions, but 2 undecided."""
    return f"{number} {outcome}{'s' * (number > 1 and outcome in PROVEN)}"


def _incomplete(comparison: Comparison) -> Iterator[str]:
    for side, run_set in (("baseline", comparison.baseline), ("candidate", comparison.candidate)):
        if run_set.missing:
            yield f"The {side} is incomplete: {completeness(Results(run_set))}"
    if comparison.missing:
        yield f"Not in the candidate: {named(comparison.missing)}."
    if comparison.extra:
        yield f"Not in the baseline: {named(comparison.extra)}."
    reasons: dict[str, list[str]] = {}
    for case in comparison.cases:
        if {verdict.outcome for verdict in case.verdicts.values()} == {"not comparable"}:
            reasons.setdefault(next(iter(case.verdicts.values())).reason, []).append(case.case)
    for reason, cases in reasons.items():
        yield f"{named(cases)} cannot be compared: {reason}."


def _largest(comparison: Comparison) -> Iterator[str]:
    """Yield the largest changes, proven ones first, and how many more there are."""
    changed = [
        _Changed(case, key, verdict, verdict.change)
        for case in comparison.cases
        for key, verdict in case.verdicts.items()
        if verdict.change and _may_have_changed(verdict, verdict.change)
    ]
    changed.sort(key=lambda one: one.order)
    yield from map(str, changed[:MAX_CHANGES])
    if (more := len(changed) - MAX_CHANGES) > 0:
        yield f"{more} more change{'s' * (more > 1)} beyond the tolerance: see the verdicts."
    if comparison.cases and not changed:
        yield "No metric changed by more than its tolerance."


def _may_have_changed(verdict: Verdict, change: Change) -> bool:
    if verdict.outcome == "inconclusive":
        return abs(math.log(change.ratio)) > math.log1p(verdict.tolerance)
    return verdict.outcome in (*PROVEN, "undecided")
