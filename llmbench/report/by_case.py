"""Tables with a row a case: how their columns are made, and which of them are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from llmbench.analysis.metrics import LATENCIES, METRICS, errors_by_kind
from llmbench.report.cells import (
    MISSING,
    UNSUPPORTED,
    Cell,
    Column,
    Table,
    count,
    estimated,
    missing,
    percentile,
)
from llmbench.report.results import CaseResults

CASE = Column("case", numeric=False)
INTERVALS = (
    "A figure is the mean over processes, with its 95 % bootstrap interval beneath where there are"
    " 3 processes or more."
)
DAGGER = f"{UNSUPPORTED} the sample is too small for 99 % confidence in this percentile."

CellOf = Callable[[CaseResults], Cell]


def _name(case: CaseResults) -> Cell:
    return Cell(case.name)


def metric_column(name: str, label: str | None = None) -> tuple[Column, CellOf]:
    """Make a column of a metric (metrics.METRICS)."""
    metric = METRICS[name]
    meaning = f"{metric.label} ({metric.unit}); better: {metric.better}"
    column = Column(label or metric.label, meaning, metric=name)
    return column, partial(estimated, metric=name)


def percentile_column(latency: str, percent: int) -> tuple[Column, CellOf]:
    """Make a column of a latency's percentile."""
    label, metric = f"{LATENCIES[latency]} p{percent}", f"{latency}_p{percent}"
    column = Column(label, f"{label} in seconds; better: lower", metric=metric)
    return column, partial(percentile, latency=latency, percent=percent)


def failed(case: CaseResults) -> Cell:
    """Count the requests that failed, by kind on asking."""
    if not case.runs:
        return missing("no run of this case finished")
    kinds: dict[str, int] = {}
    for run in case.runs:
        for kind, number in errors_by_kind(run).items():
            kinds[kind] = kinds.get(kind, 0) + number
    return count(case.failed_requests, ", ".join(f"{n} {kind}" for kind, n in kinds.items()))


def by_case(
    title: str,
    cases: Sequence[CaseResults],
    columns: Iterable[tuple[Column, CellOf]],
    notes: tuple[str, ...] = (),
) -> Table:
    """Lay out one row a case, without the columns that are empty, whose reasons are noted."""
    measured = [case for case in cases if case.runs]
    kept: list[tuple[Column, CellOf]] = [(CASE, _name)]
    left_out: dict[str, list[str]] = {}
    for column, cell_of in columns:
        reason = _why_empty([cell_of(case) for case in measured])
        if reason:
            left_out.setdefault(reason, []).append(column.label)
        else:
            kept.append((column, cell_of))
    rows = tuple(tuple(cell_of(case) for _, cell_of in kept) for case in cases)
    told = [f"No {', '.join(labels)}: {reason}." for reason, labels in left_out.items()]
    return Table(
        title,
        tuple(column for column, _ in kept),
        rows,
        " ".join((*notes, *told, *_why_missing(rows))),
    )


def _why_missing(rows: Iterable[tuple[Cell, ...]]) -> list[str]:
    """Say below the table why an entry is missing, for those who cannot hover over it."""
    reasons: dict[str, dict[str, None]] = {}
    for name, *cells in rows:
        for cell in cells:
            if cell.text == MISSING:
                reasons.setdefault(cell.note, {})[name.text] = None
    return [f"{MISSING} {reason} ({', '.join(names)})." for reason, names in reasons.items()]


def _why_empty(cells: list[Cell]) -> str:
    """Give the reasons why a column is empty, or nothing where it says something."""
    is_empty = all(cell.text == MISSING for cell in cells)
    return "; ".join(dict.fromkeys(cell.note for cell in cells)) if is_empty else ""
