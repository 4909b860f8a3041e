"""What a table is made of: cells with a text and the exact number behind it; one row per case."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from llmbench.analysis.metrics import LATENCIES, METRICS, errors_by_kind
from llmbench.analysis.stats import min_samples_for_percentile
from llmbench.analysis.values import Estimate
from llmbench.report.results import CaseResults
from llmbench.units import format_bytes, format_duration, format_number, format_scaled

MISSING = "—"
UNSUPPORTED = "†"


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry: ``text`` to read, ``detail`` beneath it (an interval), ``note`` on asking.

    ``value`` is the exact number in ``unit``, the metric's own; it is None for text, and for a
    number that is missing, whose reason is the note. ``opens`` names the request that a page shows
    from here on asking.
    """

    text: str
    value: float | None = None
    detail: str = ""
    note: str = ""
    unit: str = ""
    opens: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, what it means, whether numbers stand below it, and of which metric, if of one."""

    label: str
    meaning: str = ""
    numeric: bool = True
    metric: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns; the first cell of a row names it. ``note`` stands below."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


SHOWN: dict[str, Callable[[float], str]] = {
    "s": format_duration,
    "B": format_bytes,
    "FLOP": lambda flops: format_scaled(flops, "FLOP"),
    "requests": lambda number: f"{number:,.0f}",
    "share": lambda share: f"{100 * share:.1f} %",
}


def show(value: float, unit: str) -> str:
    """Write a number as people read its unit: seconds become ms or µs, bytes become MiB."""
    return SHOWN.get(unit, format_number)(value)


def missing(reason: str | None) -> Cell:
    """Stand in for a number that could not be had; never 0."""
    return Cell(MISSING, note=reason or "not measured")


def count(number: int, note: str = "") -> Cell:
    """Show a whole number."""
    return Cell(f"{number:,}", number, note=note)


def quantity(value: float | None, unit: str, reason: str = "not known") -> Cell:
    """Show a number with its unit, or say why there is none (None or NaN)."""
    if value is None or math.isnan(value):
        return missing(reason)
    return Cell(show(value, unit), value, unit=unit)


def estimated(case: CaseResults, metric: str) -> Cell:
    """Show a metric of a case: its mean over processes and, where there is one, the interval."""
    return of_estimate(case.estimates[metric], METRICS[metric].unit)


def of_estimate(estimate: Estimate, unit: str) -> Cell:
    """Show an estimate: its mean and, where there is one, its interval."""
    if estimate.value is None:
        return missing(estimate.reason)
    return replace(quantity(estimate.value, unit), detail=_interval(estimate, unit))


def _interval(estimate: Estimate, unit: str) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    if estimate.low == estimate.high:
        return "all alike"
    low, high = show(estimate.low, unit), show(estimate.high, unit)
    number, _, its_unit = low.partition(" ")
    return f"{number if its_unit and high.endswith(f' {its_unit}') else low} – {high}"


def percentile(case: CaseResults, latency: str, percent: int) -> Cell:
    """Show a percentile of a latency, marked where the sample cannot support it."""
    metric = f"{latency}_p{percent}"
    cell, note = estimated(case, metric), floor_note(case, metric, percent)
    if cell.value is None or not note:
        return cell
    return replace(cell, text=f"{cell.text} {UNSUPPORTED}", note=note)


def floor_note(case: CaseResults, metric: str, percent: int) -> str:
    """Say how many samples a percentile lacks, or nothing where it has enough.

    Each process has a percentile of its own, so the smallest sample counts.
    """
    n, floor = case.fewest(metric), min_samples_for_percentile(percent)
    return "" if n >= floor else f"rests on {n:,} samples a process; needs {floor:,}"


# -- one row per case ------------------------------------------------------------------------------

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
