"""A comparison as tables, for the terminal, Markdown and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from llmbench.analysis.compare.comparison import CaseComparison, Comparison
from llmbench.analysis.compare.verdicts import Verdict
from llmbench.analysis.metrics import METRICS
from llmbench.report.table import MISSING, Cell, Column, Table

MARKS = {
    "regression": "▲ regression",
    "improvement": "▼ improvement",
    "equivalent": "= equivalent",
    "inconclusive": "? inconclusive",
    "environment": "! environment",
    "not comparable": "≠ not comparable",
}


def headline(comparison: Comparison) -> str:
    """Say in one sentence what came of a comparison."""
    if not comparison.cases:
        return "Nothing was compared: the two have no case in common."
    counts = Counter[str](v.outcome for case in comparison.cases for v in case.verdicts.values())
    told = [f"{number} {outcome}" for outcome in MARKS if (number := counts[outcome])]
    cases = len(comparison.cases)
    return f"{', '.join(told)} in {cases} case{'s' * (cases > 1)}."


def verdicts(comparison: Comparison) -> Table:
    """One row a case and metric: the change, its interval, and what it comes to."""
    columns = (
        Column("case", numeric=False),
        Column("metric", numeric=False),
        Column("change", "candidate to baseline, with its 95 % interval over processes"),
        Column("tolerance"),
        Column("verdict", numeric=False),
    )
    rows = [row for case in comparison.cases for row in _rows(case)]
    return Table("Verdicts", columns, tuple(rows), " ".join(_notes(comparison)))


def _rows(case: CaseComparison) -> Iterator[tuple[Cell, ...]]:
    for key, verdict in case.verdicts.items():
        yield (
            Cell(case.case),
            Cell(METRICS[key].label),
            _change(verdict),
            Cell(f"±{100 * verdict.tolerance:g} %"),
            Cell(MARKS[verdict.outcome], detail=_settled_by(verdict), note=verdict.reason),
        )


def _change(verdict: Verdict) -> Cell:
    if verdict.change is None:
        return Cell(MISSING, note=verdict.reason)
    change, _, interval = str(verdict.change).partition(" (")
    return Cell(change, verdict.change.ratio, interval.rstrip(")"))


def _settled_by(verdict: Verdict) -> str:
    if verdict.outcome != "inconclusive" or verdict.repeats is None:
        return ""
    return f"settled by ≈ {verdict.repeats}"


def _notes(comparison: Comparison) -> Iterator[str]:
    for case in comparison.cases:
        yield f"{case.case}: {case.candidate_runs} processes against {case.baseline_runs}."
    if any(_settled_by(v) for case in comparison.cases for v in case.verdicts.values()):
        yield "Settled by: about so many processes a side."
    yield from (f"{', '.join(names)}: {reason}." for reason, names in _reasons(comparison).items())
    if comparison.missing:
        yield f"Not in the candidate: {', '.join(comparison.missing)}."
    if comparison.extra:
        yield f"Not in the baseline: {', '.join(comparison.extra)}."


def _reasons(comparison: Comparison) -> dict[str, list[str]]:
    """Gather the metrics of which nothing could be said, by reason."""
    reasons: dict[str, list[str]] = {}
    for case in comparison.cases:
        for key, verdict in case.verdicts.items():
            label = METRICS[key].label
            if verdict.reason and label not in reasons.setdefault(verdict.reason, []):
                reasons[verdict.reason].append(label)
    return reasons


def differences(comparison: Comparison) -> Table:
    """What the two sides differ in besides what was measured, a row a difference."""
    columns = tuple(
        Column(label, numeric=False) for label in ("kind", "what", "baseline", "candidate", "cases")
    )
    where: dict[tuple[str, str, str, str], list[str]] = {}
    for case in comparison.cases:
        for each in case.differences:
            key = (each.kind, each.what, each.baseline, each.candidate)
            where.setdefault(key, []).append(case.case)
    everywhere = len(comparison.cases)
    rows = tuple(
        (*map(Cell, key), Cell("all" if len(cases) == everywhere else ", ".join(cases)))
        for key, cases in where.items()
    )
    return Table("What differs", columns, rows)


def causes(comparison: Comparison) -> Table:
    """What else moved in the cases where a metric changed, a row a thing."""
    columns = (
        Column("case", numeric=False),
        Column("what", numeric=False),
        *map(Column, ("baseline", "candidate")),
        Column("p", "of no shift between the processes of both sides"),
    )
    changed = [case for case in comparison.cases if case.changed]
    rows = tuple(
        (
            *map(Cell, (case.case, cause.what, cause.baseline, cause.candidate)),
            Cell(MISSING if cause.p is None else f"{cause.p:.2g}"),
        )
        for case in changed
        for cause in case.covariates
    )
    unmoved = [case.case for case in changed if not case.covariates]
    note = f"{', '.join(unmoved)}: nothing else that is watched moved." if unmoved else ""
    return Table("What moved with it", columns, rows, note)
