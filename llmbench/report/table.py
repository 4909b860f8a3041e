"""Tables of cells with display text and exact numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress

from llmbench.analysis.metrics import METRICS, TIMES, errors_by_kind
from llmbench.analysis.stats import MIN_PROCESSES_95
from llmbench.analysis.values import Estimate, Value
from llmbench.report.results import CaseResults
from llmbench.units import format_number, scale, scale_bytes, scale_duration

MISSING = "—"
UNSUPPORTED = "†"
PAIR = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: ``text``, ``detail`` below it (an interval), ``note`` as a tooltip.

    ``value`` is the exact number in ``unit``; None for texts and for missing numbers, whose reason
    is the note. ``opens`` is the key of the request that the cell opens.
    """

    text: str
    value: float | None = None
    detail: str = ""
    note: str = ""
    unit: str = ""
    opens: str = ""
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its label, tooltip (``meaning``), whether it is numeric, and its metric, if any."""

    label: str
    meaning: str = ""
    numeric: bool = True
    metric: str = ""


def text_columns(*labels: str) -> tuple[Column, ...]:
    """Return one text column per label."""
    return tuple(Column(label, numeric=False) for label in labels)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns; a row's first cell is its heading. ``note`` is shown below."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def split_shared(whole: Table) -> tuple[Table, list[tuple[Column, Cell]]]:
    """Return a table without the columns whose cells are the same in all rows, and these columns.

    Each comes with its cell. The headings of rows stay, and so does a table of one row.
    """
    if len(whole.rows) < PAIR:
        return whole, []
    cells = [list(dict.fromkeys(column)) for column in zip(*whole.rows, strict=True)]
    varies = [not place or len(different) > 1 for place, different in enumerate(cells)]
    shared = [
        (column, first)
        for column, (first, *_), stays in zip(whole.columns, cells, varies, strict=True)
        if not stays
    ]
    rows = tuple(tuple(compress(row, varies)) for row in whole.rows)
    return replace(whole, columns=tuple(compress(whole.columns, varies)), rows=rows), shared


SCALES: dict[str, Callable[[float], tuple[str, str]]] = {
    "s": scale_duration,
    "B": scale_bytes,
    "Hz": lambda hertz: scale(hertz, "Hz"),
    "FLOP": lambda flops: scale(flops, "FLOP"),
    "requests": lambda number: (f"{number:,.0f}", ""),
    "share": lambda share: (f"{100 * share:.1f}", "%"),
}


def _scaled(value: float, unit: str) -> tuple[str, str]:
    return SCALES[unit](value) if unit in SCALES else (format_number(value), "")


def show(value: float, unit: str) -> str:
    """Format a number with a readable unit: seconds as ms or µs, bytes as MiB."""
    return " ".join(filter(None, _scaled(value, unit)))


def show_interval(low: float, high: float, unit: str, to: str = " – ") -> str:
    """Format an interval, with a common unit written once: 1.20 – 1.31 ms."""
    (low_number, low_unit), high_unit = _scaled(low, unit), _scaled(high, unit)[1]
    return f"{low_number if low_unit == high_unit else show(low, unit)}{to}{show(high, unit)}"


def missing(reason: str | None) -> Cell:
    """Return a cell for an unavailable number: a dash (never 0), with the reason as tooltip."""
    return Cell(MISSING, note=reason or "not measured", is_missing=True)


def count(number: int, note: str = "") -> Cell:
    """Return a cell that shows an integer."""
    return Cell(f"{number:,}", number, note=note)


def quantity(value: float | None, unit: str, reason: str = "unknown", detail: str = "") -> Cell:
    """Return a cell with a number and its unit, or with the reason why it is None or NaN."""
    if value is None or math.isnan(value):
        return missing(reason)
    return Cell(show(value, unit), value, detail, unit=unit)


def reading(value: float, unit: str) -> Cell:
    """Return a cell with a reading of the machine and its unit, even one that is not scaled."""
    cell = quantity(value, unit)
    return cell if unit in SCALES or not unit else replace(cell, text=f"{cell.text} {unit}")


def estimated(case: CaseResults, metric: str) -> Cell:
    """Return a cell with a metric of a case: its figure over processes and interval."""
    return of_value(case.estimates[metric], METRICS[metric].unit)


def of_value(value: Value, unit: str) -> Cell:
    """Return a cell with a value and its interval, if any, or with the reason why it is missing."""
    if value.value is None:
        return missing(value.reason)
    detail = _interval(value, unit) if isinstance(value, Estimate) else ""
    return quantity(value.value, unit, detail=detail)


def _interval(estimate: Estimate, unit: str) -> str:
    """Return an estimate's interval as text, or the values of two processes."""
    if estimate.low is None or estimate.high is None:
        both = [show(value, unit) for value in estimate.values]
        return " and ".join(both) if len(both) == PAIR else ""
    if estimate.low == estimate.high:
        return "all equal"
    return show_interval(estimate.low, estimate.high, unit)


def percentile(case: CaseResults, latency: str, percent: int) -> Cell:
    """Return a cell with a percentile of a latency, marked if it is based on too few samples."""
    metric = f"{latency}_p{percent}"
    cell, note = estimated(case, metric), floor_note(case, metric)
    if cell.value is None or not note:
        return cell
    return replace(cell, text=f"{cell.text} {UNSUPPORTED}", note=note)


def floor_note(case: CaseResults, metric: str) -> str:
    """Return a note if a percentile is based on too few samples, otherwise an empty string.

    Percentiles are per process, so the process with the fewest samples decides.
    """
    n, floor = case.fewest(metric), METRICS[metric].min_samples
    if not n and case.is_summary:
        return f"the number of samples is unknown; needs {floor:,} per process"
    return "" if n >= floor else f"based on {n:,} samples per process; needs {floor:,}"


# -- one row per case ------------------------------------------------------------------------------

CASE = Column("case", numeric=False)
INTERVALS = (
    "Values are geometric means over processes (shares: of all requests). Below are both values of "
    "two processes; of three and more, their t interval, which is a 95 % interval from "
    f"{MIN_PROCESSES_95} processes on."
)
DAGGER = f"{UNSUPPORTED} too few samples for 99 % confidence in this percentile."

CellOf = Callable[[CaseResults], Cell]
ColumnOf = tuple[Column, CellOf]


def metric_column(name: str, label: str | None = None) -> ColumnOf:
    """Return the column of a metric (metrics.METRICS) and the function that returns its cells."""
    metric = METRICS[name]
    meaning = f"{metric.label} ({metric.unit}); better: {metric.better}"
    column = Column(label or metric.label, meaning, metric=name)
    return column, partial(estimated, metric=name)


def percentile_column(latency: str, percent: int) -> ColumnOf:
    """Return the column of a latency's percentile and the function that returns its cells."""
    label, metric = f"{TIMES[latency]} p{percent}", f"{latency}_p{percent}"
    column = Column(label, f"{label} in seconds; better: lower", metric=metric)
    return column, partial(percentile, latency=latency, percent=percent)


def failed(case: CaseResults) -> Cell:
    """Return a cell with the number of failed requests, and the number per error as tooltip."""
    if not case.has_requests:
        return _uncounted(case)
    if not case.failed_requests:
        return count(0)
    kinds = sum((Counter(errors_by_kind(run)) for run in case.runs), Counter[str]())
    cell = count(case.failed_requests, ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    return replace(cell, detail=f"{kinds['rejected']:,} rejected") if kinds["rejected"] else cell


def abandoned(case: CaseResults) -> Cell:
    """Return a cell with the number of abandoned requests and of the tokens that they received."""
    if not case.runs:
        return missing("no run of this case finished")
    tokens = f"{case.abandoned_tokens:,} tokens received" if case.abandoned_requests else ""
    return replace(count(case.abandoned_requests), detail=tokens)


def _uncounted(case: CaseResults) -> Cell:
    return missing("not in the summary" if case.runs else "no run of this case finished")


def requests(case: CaseResults) -> Cell:
    """Return a cell with the number of measured requests, 0 without a run."""
    return _uncounted(case) if case.runs and not case.has_requests else count(case.requests)


# columns of several tables
REQUESTS: ColumnOf = (Column("requests", "measured, in all runs"), requests)
FAILED: ColumnOf = (
    Column("failed", "measured requests that failed, were rejected or did not finish"),
    failed,
)
ABANDONED: ColumnOf = (
    Column("abandoned", "measured requests whose users gave up; neither successes nor failures"),
    abandoned,
)
SLO: tuple[ColumnOf, ...] = (
    metric_column("goodput_requests_per_second", "goodput/s"),
    metric_column("slo_attainment", "SLO met"),
)


def outcomes(cases: Iterable[CaseResults]) -> list[ColumnOf]:
    """Return the columns of failed and, if any case has them, of abandoned requests."""
    return [FAILED, ABANDONED] if any(case.abandoned_requests for case in cases) else [FAILED]


def by_case(
    title: str,
    cases: Sequence[CaseResults],
    columns: Iterable[ColumnOf],
    notes: tuple[str, ...] = (),
) -> Table:
    """Return a table with one row per case.

    Columns without any value are left out; the note has the reasons.
    """
    kept = [(CASE, [Cell(case.name) for case in cases])]
    empty: dict[str, list[str]] = {}
    for column, cell_of in columns:
        cells = [cell_of(case) for case in cases]
        measured = [cell for cell, case in zip(cells, cases, strict=True) if case.runs]
        if measured and all(cell.is_missing for cell in measured):
            reason = "; ".join(dict.fromkeys(cell.note for cell in measured))
            empty.setdefault(reason, []).append(column.label)
        else:
            kept.append((column, cells))
    rows = tuple(zip(*(cells for _, cells in kept), strict=True))
    without = [f"No {', '.join(labels)}: {reason}." for reason, labels in empty.items()]
    return Table(
        title,
        tuple(column for column, _ in kept),
        rows,
        " ".join((*notes, *without, *reasons(rows))),
    )


def reasons(rows: Iterable[tuple[Cell, ...]]) -> list[str]:
    """Return the reasons for missing cells as sentences, for readers without tooltips.

    Each names the rows that it holds for, by their first cells, unless it holds for all of several.
    """
    names: dict[str, None] = {}
    by_reason: dict[str, dict[str, None]] = {}
    for name, *cells in rows:
        names[name.text] = None
        for cell in cells:
            if cell.is_missing:
                by_reason.setdefault(cell.note, {})[name.text] = None
    return [_reason(why, of, len(names)) for why, of in by_reason.items()]


def _reason(why: str, rows: Iterable[str], of: int) -> str:
    listed = list(rows)
    named = "" if 1 < of == len(listed) else f" ({', '.join(listed)})"
    return f"{MISSING} {why}{named}."
