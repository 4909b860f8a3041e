"""When and why a GPU was throttled during a run, from the driver's reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from llmbench.environment.nvml import THROTTLE_REASONS, THROTTLED
from llmbench.report.table import Cell, Column, Table, quantity, text_columns
from llmbench.runs.series import Series

MASK = "throttle_reasons"


@dataclass(frozen=True, slots=True)
class Throttled:
    """A time span in which a GPU was throttled, in seconds on the run's clock, with the reasons."""

    gpu: str
    begin: float
    end: float
    reasons: str


def is_mask(series: Series) -> bool:
    """Return whether a series contains throttle reasons as bit masks."""
    return series.quantity == MASK


def spans(watched: Iterable[Series]) -> list[Throttled]:
    """Return the time spans in which GPUs were throttled; a reading holds until the next one."""
    return [span for series in watched if is_mask(series) for span in _spans(series)]


def _spans(series: Series) -> Iterator[Throttled]:
    readings = zip(pairwise([*series.times, *series.times[-1:]]), series.values, strict=True)
    for mask, alike in groupby(readings, key=lambda reading: int(reading[1]) & THROTTLED):
        (begin, end), *others = (times for times, _ in alike)
        if mask:
            last = others[-1][1] if others else end
            yield Throttled(series.device or "", begin, last, _named(mask))


def _named(mask: int) -> str:
    return ", ".join(name.replace("_", " ") for bit, name in THROTTLE_REASONS.items() if mask & bit)


def table(throttled: Sequence[Throttled]) -> Table:
    """Return the time spans in which GPUs were throttled, one per row."""
    columns = (*text_columns("GPU"), *map(Column, ("from", "until")), *text_columns("reasons"))
    rows = tuple(
        (Cell(span.gpu), quantity(span.begin, "s"), quantity(span.end, "s"), Cell(span.reasons))
        for span in throttled
    )
    return Table("Throttled", columns, rows)
