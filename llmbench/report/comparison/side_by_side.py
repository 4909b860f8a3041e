"""Run sets side by side: their figures, and the ratios of candidates to a baseline.

The ratio is the one that verdicts go by (docs/statistics.md), of any metric and untested.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from llmbench.analysis.compare.comparison import matched
from llmbench.analysis.compare.judge import CasePair, Processes
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
        row
        for name, case in baseline.cases.items()
        for row in _rows(case, [_partner(name, baseline, side) for side in candidates])
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


def _rows(case: CaseResults, others: Sequence[CaseResults | None]) -> Iterator[tuple[Cell, ...]]:
    pairs = [CasePair(_processes(case), _processes(other)) if other else None for other in others]
    for quantity in QUANTITIES:
        yield (
            Cell(case.name),
            Cell(quantity.label, detail=f"{quantity.better} is better"),
            _figure(case, quantity),
            *(cell for other, pair in zip(others, pairs, strict=True)
              for cell in _compared(other, pair, quantity)),
        )  # fmt: skip


def _processes(case: CaseResults) -> Processes:
    return Processes(case.runs, tuple(case.summaries))


def _partner(case: str, baseline: Side, side: Side) -> CaseResults | None:
    """Give the case of a side that is held against one of the baseline."""
    partners = dict(matched(baseline.cases, side.cases))
    return side.cases[partners[case]] if case in partners else None


def _compared(
    other: CaseResults | None, pair: CasePair | None, quantity: Quantity
) -> tuple[Cell, Cell]:
    if other is None or pair is None:
        return (missing("this side has no such case"),) * 2
    return _figure(other, quantity), _ratio(pair, quantity)


def _figure(case: CaseResults, quantity: Quantity) -> Cell:
    cell = of_estimate(quantity.estimate(case), quantity.unit)
    note = floor_note(case, quantity.metric)
    if cell.value is None or not note:
        return cell
    return Cell(f"{cell.text} {UNSUPPORTED}", cell.value, cell.detail, note)


def _ratio(pair: CasePair, quantity: Quantity) -> Cell:
    baseline, candidate, reason = pair.values(quantity.metric)
    if reason := pair.incomparable or reason:
        return missing(reason)
    try:
        allowed = pair.allowance(quantity.metric)
    except Unavailable as unavailable:
        return missing(str(unavailable))
    change = change_of(list(map(quantity.of, baseline)), list(map(quantity.of, candidate)))
    interval = "no interval"
    if 0 < change.low <= change.high < math.inf:
        interval = f"{format_number(change.low)} – {format_number(change.high)}"
    devices = f"{ALLOWED}{100 * allowed:.0f} %" if allowed else ""
    return Cell(f"× {format_number(change.ratio)}", change.ratio, f"{interval}{devices}")


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
