"""Comparisons as tables, for the page, the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple

from rich.console import Group, RenderableType
from rich.text import Text

from llmbench.analysis.compare.comparison import CaseComparison, Comparison
from llmbench.analysis.compare.verdicts import Verdict
from llmbench.analysis.metrics import METRICS
from llmbench.report import terminal, text
from llmbench.report.comparison.answer import MARKS, answer
from llmbench.report.comparison.machines import machines
from llmbench.report.comparison.side_by_side import figures, sides
from llmbench.report.table import MISSING, Cell, Column, Table, text_columns


def verdicts(comparison: Comparison) -> Table:
    """Return one row per case and metric: the change, its interval, and the verdict."""
    columns = (
        *text_columns("case", "metric"),
        Column("change", "from baseline to candidate, with its 95 % interval over processes"),
        Column("tolerance"),
        *text_columns("verdict"),
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
            Cell(MARKS[verdict.outcome], detail=_repeats(verdict), note=verdict.reason),
        )


def _change(verdict: Verdict) -> Cell:
    if verdict.change is None:
        return Cell(MISSING, note=verdict.reason)
    return Cell(verdict.change.percent, verdict.change.ratio, verdict.change.interval)


def _repeats(verdict: Verdict) -> str:
    if verdict.repeats is None:
        return ""
    return f"needs ≈ {verdict.repeats} processes per side"


def _notes(comparison: Comparison) -> Iterator[str]:
    for case in comparison.cases:
        runs = f"{case.candidate_runs} candidate and {case.baseline_runs} baseline"
        yield f"{case.case}: {runs} processes."
    yield from (f"{', '.join(names)}: {reason}." for reason, names in _reasons(comparison).items())


def _reasons(comparison: Comparison) -> dict[str, list[str]]:
    """Return the labels of metrics by the reason for their verdict."""
    reasons: dict[str, list[str]] = {}
    for case in comparison.cases:
        for key, verdict in case.verdicts.items():
            label = METRICS[key].label
            if verdict.reason and label not in reasons.setdefault(verdict.reason, []):
                reasons[verdict.reason].append(label)
    return reasons


def differences(comparison: Comparison) -> Table:
    """Return one row per difference in scenario, machine, software or settings."""
    columns = text_columns("kind", "what", "baseline", "candidate", "cases")
    where: dict[tuple[str, ...], list[str]] = {}
    for case in comparison.cases:
        for difference in case.differences:
            where.setdefault(astuple(difference), []).append(case.case)
    total = len(comparison.cases)
    rows = tuple(
        (*map(Cell, key), Cell("all" if len(cases) == total else ", ".join(cases)))
        for key, cases in where.items()
    )
    return Table("What differs", columns, rows)


def covariates(comparison: Comparison) -> Table:
    """Return one row per changed covariate of each case in which a metric changed."""
    columns = (
        *text_columns("case", "what"),
        *map(Column, ("baseline", "candidate")),
        Column("p-value", "of a shift between the processes of both sides"),
    )
    changed = [case for case in comparison.cases if case.changed]
    rows = tuple(
        (
            *map(Cell, (case.case, moved.what, moved.baseline, moved.candidate)),
            Cell(MISSING if moved.p is None else f"{moved.p:.2g}"),
        )
        for case in changed
        for moved in case.covariates
    )
    unmoved = [case.case for case in changed if not case.covariates]
    note = f"{', '.join(unmoved)}: no recorded covariate changed." if unmoved else ""
    return Table("Covariates that changed", columns, rows, note)


# -- printed --------------------------------------------------------------------------------------


def as_rich(comparisons: Sequence[Comparison], *, side_by_side: bool = False) -> Group:
    """Return the tables of each comparison and, optionally, of all sides together."""
    parts = [part for comparison in comparisons for part in _as_rich(comparison)]
    for table in _side_by_side(comparisons) if side_by_side else ():
        rows = [terminal.Fitting(table)] if table.rows else []
        parts += [Text(f"\n{table.title}", "bold"), *rows, Text(table.note, "dim")]
    return Group(*parts)


def _as_rich(comparison: Comparison) -> Iterator[RenderableType]:
    candidate, baseline = comparison.candidate.folder.name, comparison.baseline.folder.name
    yield Text.assemble("\n", (candidate, "bold"), " against ", (baseline, "bold"))
    yield from map(Text, answer(comparison))
    table = verdicts(comparison)
    yield terminal.Fitting(table)
    yield Text(table.note, "dim")
    for table in (covariates(comparison), differences(comparison)):
        if table.rows:
            yield Text(f"\n{table.title}", "bold")
            yield terminal.Fitting(table)
        if table.note:
            yield Text(table.note, "dim")


def as_markdown(comparisons: Sequence[Comparison], *, side_by_side: bool = False) -> str:
    """Return the tables of each comparison and, optionally, of all sides together, as Markdown."""
    parts = ["\n\n".join(_as_markdown(comparison)) for comparison in comparisons]
    if side_by_side:
        parts += [f"\n{_section(table, 2)}".rstrip("\n") for table in _side_by_side(comparisons)]
    return "\n".join(parts) + "\n"


def _as_markdown(comparison: Comparison) -> Iterator[str]:
    yield f"## {comparison.candidate.folder.name} against {comparison.baseline.folder.name}"
    yield from answer(comparison)
    yield text.as_markdown(verdicts(comparison))
    for table in (covariates(comparison), differences(comparison)):
        if table.rows:
            yield _section(table, 3)
        elif table.note:
            yield table.note


def _section(table: Table, level: int) -> str:
    return f"{'#' * level} {table.title}\n\n{text.as_markdown(table)}"


def _side_by_side(comparisons: Sequence[Comparison]) -> tuple[Table, Table]:
    """Return the tables of the metrics and of the machines of all sides."""
    compared = sides([comparisons[0].baseline, *(other.candidate for other in comparisons)])
    return figures(compared), machines(compared)
