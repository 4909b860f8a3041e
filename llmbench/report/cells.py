"""What a table is made of: cells that carry a text for people and the exact number behind it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmbench.analysis.metrics import METRICS
from llmbench.analysis.stats import Estimate, min_samples_for_percentile
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
