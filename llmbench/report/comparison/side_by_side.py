"""Run sets side by side: their figures, and the ratios of candidates to a baseline.

The ratio is the one that verdicts go by (docs/statistics.md), of any metric and untested.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from llmbench.analysis.compare.comparison import is_energy, matched, values_of
from llmbench.analysis.compare.differences import differences, energy_allowance, forbids
from llmbench.analysis.compare.verdicts import change_of
from llmbench.analysis.metrics import METRICS
from llmbench.analysis.values import Estimate, estimate
from llmbench.errors import Unavailable
from llmbench.report.charts import BARS, Bar, Chart, bars
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import (
    DAGGER,
    UNSUPPORTED,
    Cell,
    Column,
    Table,
    floor_note,
    missing,
    of_estimate,
)
from llmbench.runs.store import RunSet
from llmbench.units import format_number

ALLOWED = ", devices ± "
METERS = "Energies on two devices may be told so far apart (devices ±) and be the same."
CHARTED = ("output_tokens_per_second", "ttft_p50", "tpot_p50")
SHOWN = (
    "output_tokens_per_second", "requests_per_second", "ttft_p50", "ttft_p99",
    "itl_p50", "tpot_p50", "e2e_p50", "memory_weights_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of each process: a metric, or a ``numerator`` over one."""

    metric: str
    label: str
    unit: str
    better: str
    numerator: float | None = None

    @classmethod
    def plain(cls, metric: str) -> Quantity:
        """Give a metric as it is."""
        known = METRICS[metric]
        return cls(metric, known.label, known.unit, known.better)

    def of(self, value: float) -> float:
        """Compute it from the metric's value of a process."""
        return value if self.numerator is None else self.numerator / value

    def known(self, case: CaseResults) -> tuple[list[float], str]:
        """Give its value of each process of a case, or why they cannot be compared."""
        values, why = values_of(self.metric, case.summaries)
        return list(map(self.of, values)), why

    def estimate(self, case: CaseResults) -> Estimate:
        """Give its mean over the processes of a case, with its interval."""
        found = case.estimates[self.metric]
        if self.numerator is None:
            return found
        if not all(found.values):
            return estimate([], "it is 0 in a process")
        return estimate([self.of(value) for value in found.values], found.reason)


QUANTITIES = (
    *map(Quantity.plain, SHOWN),
    Quantity(
        "energy_joules_per_output_token", "output tokens per joule", "tokens/J", "higher", 1.0
    ),
    Quantity(
        "cost_per_million_output_tokens", "output tokens per unit of currency", "tokens", "higher",
        1e6,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One of the run sets, by a name that no other one has; the first is the baseline."""

    name: str
    results: Results

    @cached_property
    def cases(self) -> dict[str, CaseResults]:
        """Its measured cases by name."""
        return {case.name: case for case in self.results.measured}


def sides(run_sets: Sequence[RunSet]) -> list[Side]:
    """Name run sets by their folders, in full where two of these are called alike."""
    short = [each.folder.name for each in run_sets]
    whole = [str(each.folder) for each in run_sets]
    names = short if len({*short}) == len({*whole}) else whole
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return [
        Side(f"{name} ({before + 1})" if before else name, Results(each))
        for name, before, each in zip(names, again, run_sets, strict=True)
    ]


# -- the table -------------------------------------------------------------------------------------


def figures(compared: Sequence[Side]) -> Table:
    """One row a case and quantity: its figure on each side, and its ratio to the baseline."""
    baseline, *candidates = compared
    columns = (
        Column("case", numeric=False),
        Column("metric", numeric=False),
        Column(baseline.name, "mean over processes, with its 95 % interval"),
        *(column for side in candidates for column in _columns(side)),
    )
    found = [
        _row(case, quantity, compared)
        for case in baseline.cases.values()
        for quantity in QUANTITIES
    ]
    rows = tuple(row for row in found if any(cell.value is not None for cell in row))
    note = (
        "A ratio is the median of those between any process of the candidate and any of the "
        "baseline, with its 95 % interval by ranks, from 4 processes a side on."
    )
    marked = any(cell.text.endswith(UNSUPPORTED) for row in rows for cell in row)
    apart = any(ALLOWED in cell.detail for row in rows for cell in row)
    notes = (
        note, *([DAGGER] if marked else []), *([METERS] if apart else []), *_why_no_ratio(rows),
    )  # fmt: skip
    return Table("Side by side", columns, rows, " ".join(notes))


def _columns(side: Side) -> Iterator[Column]:
    yield Column(side.name, "mean over processes, with its 95 % interval")
    yield Column(f"{side.name} ÷ baseline", "ratio, with its 95 % interval over processes")


def _why_no_ratio(rows: Sequence[tuple[Cell, ...]]) -> list[str]:
    """Say below the table why ratios are missing, for those who cannot hover over it."""
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        for figure, ratio in zip(row[3::2], row[4::2], strict=True):
            if figure.value is not None and ratio.value is None:
                reasons.setdefault(ratio.note, {})[row[1].text] = None
    return [f"No ratio of {', '.join(names)}: {why}." for why, names in reasons.items()]


def _row(case: CaseResults, quantity: Quantity, compared: Sequence[Side]) -> tuple[Cell, ...]:
    baseline, *candidates = compared
    others = [_partner(case.name, baseline, side) for side in candidates]
    return (
        Cell(case.name),
        Cell(quantity.label, detail=f"{quantity.better} is better"),
        _figure(case, quantity),
        *(cell for other in others for cell in _pair(case, other, quantity)),
    )


def _partner(case: str, baseline: Side, side: Side) -> CaseResults | None:
    """Give the case of a side that is held against one of the baseline."""
    partners = dict(matched(baseline.cases, side.cases))
    return side.cases[partners[case]] if case in partners else None


def _pair(case: CaseResults, other: CaseResults | None, quantity: Quantity) -> Iterator[Cell]:
    if other is None:
        yield from (missing("this side has no such case"),) * 2
        return
    yield _figure(other, quantity)
    yield _ratio(case, other, quantity)


def _figure(case: CaseResults, quantity: Quantity) -> Cell:
    cell = of_estimate(quantity.estimate(case), quantity.unit)
    percent = quantity.metric.rpartition("_p")[2]
    note = floor_note(case, quantity.metric, int(percent)) if percent.isdigit() else ""
    if cell.value is None or not note:
        return cell
    return Cell(f"{cell.text} {UNSUPPORTED}", cell.value, cell.detail, note)


def _ratio(case: CaseResults, other: CaseResults, quantity: Quantity) -> Cell:
    (ours, why), (theirs, why_too) = quantity.known(case), quantity.known(other)
    why_not = forbids(differences(case.runs, other.runs)) or why or why_too
    if why_not:
        return missing(why_not)
    try:
        allowed = energy_allowance(case.runs, other.runs) if is_energy(quantity.metric) else 0.0
    except Unavailable as why_unlike:
        return missing(str(why_unlike))
    change = change_of(ours, theirs)
    interval = "no interval"
    if 0 < change.low <= change.high < math.inf:
        interval = f"{format_number(change.low)} – {format_number(change.high)}"
    beside = f"{ALLOWED}{100 * allowed:.0f} %" if allowed else ""
    return Cell(f"× {format_number(change.ratio)}", change.ratio, f"{interval}{beside}")


# -- the charts ------------------------------------------------------------------------------------


def charts(compared: Sequence[Side]) -> list[Chart]:
    """Draw a few quantities of all sides, a bar a side and case; those that some side has."""
    wanted = [q for q in QUANTITIES if q.metric in CHARTED or q.numerator is not None]
    return [chart for quantity in wanted if not (chart := _chart(compared, quantity)).empty]


def _chart(compared: Sequence[Side], quantity: Quantity) -> Chart:
    known = [bar for bar in _bars(compared, quantity) if bar.estimate.value is not None]
    return Chart(
        f"side-by-side-{quantity.metric}",
        quantity.label,
        bars(known, quantity.unit),
        f"{quantity.better.capitalize()} is better. {BARS} The table below has the numbers.",
        empty="" if known else "No side has it.",
    )


def _bars(compared: Sequence[Side], quantity: Quantity) -> Iterator[Bar]:
    """Give the bars of each case of the baseline, all sides together."""
    baseline = compared[0]
    for case in baseline.cases:
        for place, side in enumerate(compared):
            if other := _partner(case, baseline, side):
                name = side.name if len(baseline.cases) == 1 else f"{case}, {side.name}"
                yield Bar(name, place, quantity.estimate(other))
