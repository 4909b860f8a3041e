"""When a GPU was throttled during a run, and by what, from the reasons that the driver gave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from llmbench.environment.nvml import THROTTLE_REASONS, THROTTLED
from llmbench.report.table import Cell, Column, Table, quantity
from llmbench.runs.series import Series

MASK = "throttle_reasons"


@dataclass(frozen=True, slots=True)
class Throttled:
    """A time in which a GPU gave the same reasons for throttling; seconds of the run's clock."""

    gpu: str
    begin: float
    end: float
    reasons: str


def is_mask(series: Series) -> bool:
    """Tell whether a series is one of reasons for throttling, whose values are bits."""
    return series.quantity == MASK


def spans(watched: Iterable[Series]) -> list[Throttled]:
    """Find when GPUs were throttled; a reading holds until the next one."""
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


def table(found: Sequence[Throttled]) -> Table:
    """One row a time in which a GPU was throttled."""
    columns = (
        Column("GPU", numeric=False), Column("from"), Column("until"), Column("by", numeric=False),
    )  # fmt: skip
    rows = tuple(
        (Cell(each.gpu), quantity(each.begin, "s"), quantity(each.end, "s"), Cell(each.reasons))
        for each in found
    )
    return Table("Throttled", columns, rows)
