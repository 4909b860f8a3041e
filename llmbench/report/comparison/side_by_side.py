"""Run sets side by side: their metrics, and the ratios of candidates to a baseline.

Ratios are computed as for verdicts (docs/statistics.md), for any metric and without a
significance test.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from llmbench.analysis.compare.comparison import matched
from llmbench.analysis.compare.judge import CasePair
from llmbench.analysis.compare.verdicts import change_of
from llmbench.analysis.metrics import METRICS
from llmbench.analysis.values import Estimate, Value, estimate
from llmbench.errors import Unavailable
from llmbench.report import table
from llmbench.report.charts import BARS, Bar, Chart, bars
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import DAGGER, UNSUPPORTED, Cell, Column, Table
from llmbench.runs.remote import address
from llmbench.runs.run_set import RunSet
from llmbench.units import format_number

FIGURE = "geometric mean over processes, with its t interval"
METERS = "'devices ±' bounds the difference between two devices' readings of the same energy."
CHARTED = ("output_tokens_per_second", "ttft_p50", "tpot_p50")
SHOWN = (
    "output_tokens_per_second", "requests_per_second", "ttft_p50", "ttft_p99",
    "itl_p50", "tpot_p50", "e2e_p50", "memory_weights_bytes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ComparedQuantity:
    """A quantity of each process: a metric, or ``numerator`` divided by that metric."""

    metric: str
    label: str
    unit: str
    better: str
    numerator: float | None = None

    @classmethod
    def plain(cls, metric: str) -> ComparedQuantity:
        """Return the quantity that equals a metric, with the metric's label and unit."""
        known = METRICS[metric]
        return cls(metric, known.label, known.unit, known.better)

    def of(self, value: float) -> float:
        """Return the quantity of a process from its value of the metric."""
        return value if self.numerator is None else self.numerator / value

    def estimate(self, case: CaseResults) -> Estimate:
        """Return the quantity over a case's processes, with its interval."""
        metric = case.estimates[self.metric]
        if self.numerator is None or metric.value is None:
            return metric
        if not all(metric.values):
            return Estimate.unavailable("the metric that it is computed from is 0 in a process")
        return estimate([Value(self.of(value)) for value in metric.values])


QUANTITIES = (
    *map(ComparedQuantity.plain, SHOWN),
    ComparedQuantity(
        "energy_joules_per_output_token", "output tokens per joule", "tokens/J", "higher", 1.0
    ),
    ComparedQuantity(
        "cost_per_million_output_tokens", "output tokens per unit of currency", "tokens", "higher",
        1e6,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class NamedResults:
    """The results of a compared run set, under a unique name."""

    name: str
    results: Results

    @cached_property
    def cases(self) -> dict[str, CaseResults]:
        """The measured cases by name."""
        return {case.name: case for case in self.results.measured}


def sides(run_sets: Sequence[RunSet]) -> list[NamedResults]:
    """Return run sets named after their folders, or by full path if folder names collide."""
    short = [run_set.folder.name for run_set in run_sets]
    whole = [address(run_set.folder) for run_set in run_sets]
    names = short if len({*short}) == len({*whole}) else whole
    earlier = [names[:index].count(name) for index, name in enumerate(names)]
    return [
        NamedResults(f"{name} ({count + 1})" if count else name, Results(run_set))
        for name, count, run_set in zip(names, earlier, run_sets, strict=True)
    ]


# -- the table -------------------------------------------------------------------------------------


def figures(compared: Sequence[NamedResults]) -> Table:
    """Return one row per case and quantity: its value on each side and ratio to the baseline."""
    baseline, *candidates = compared
    columns = (
        *table.text_columns("case", "metric"),
        Column(baseline.name, FIGURE),
        *(column for side in candidates for column in _columns(side)),
    )
    used: set[str] = set()
    rows = tuple(
        row
        for name, case in baseline.cases.items()
        for row in _rows(case, [_partner(name, baseline, side) for side in candidates], used)
        if any(cell.value is not None for cell in row)
    )
    note = (
        "A ratio is the median over all pairs of a candidate and a baseline process, with its 95 % "
        "rank interval if each side has at least 4 processes."
    )
    legend = [mark for mark in (DAGGER, METERS) if mark in used]
    return Table("Side by side", columns, rows, " ".join((note, *legend, *_missing_ratios(rows))))


def _columns(side: NamedResults) -> Iterator[Column]:
    yield Column(side.name, FIGURE)
    yield Column(f"{side.name} ÷ baseline", "ratio, with its 95 % rank interval over processes")


def _missing_ratios(rows: Sequence[tuple[Cell, ...]]) -> list[str]:
    """Return the reasons for missing ratios, for readers without tooltips."""
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        for figure, ratio in zip(row[3::2], row[4::2], strict=True):
            if figure.value is not None and ratio.value is None:
                reasons.setdefault(ratio.note, {})[row[1].text] = None
    return [f"No ratio for {', '.join(names)}: {reason}." for reason, names in reasons.items()]


def _rows(
    case: CaseResults, others: Sequence[CaseResults | None], used: set[str]
) -> Iterator[tuple[Cell, ...]]:
    """Yield a case's rows, one per quantity; add the legend entries that they need to ``used``."""
    pairs = [CasePair(case.processes, other.processes) if other else None for other in others]
    for quantity in QUANTITIES:
        yield (
            Cell(case.name),
            Cell(quantity.label, detail=f"{quantity.better} is better"),
            _figure(case, quantity, used),
            *(cell for other, pair in zip(others, pairs, strict=True)
              for cell in _compared(other, pair, quantity, used)),
        )  # fmt: skip


def _partner(case: str, baseline: NamedResults, side: NamedResults) -> CaseResults | None:
    """Return the case of a side that is compared with a case of the baseline, or None."""
    partners = dict(matched(baseline.cases, side.cases))
    return side.cases[partners[case]] if case in partners else None


def _compared(
    other: CaseResults | None, pair: CasePair | None, quantity: ComparedQuantity, used: set[str]
) -> tuple[Cell, Cell]:
    if other is None or pair is None:
        return (table.missing("this side has no such case"),) * 2
    return _figure(other, quantity, used), _ratio(pair, quantity, used)


def _figure(case: CaseResults, quantity: ComparedQuantity, used: set[str]) -> Cell:
    cell = table.of_value(quantity.estimate(case), quantity.unit)
    note = table.floor_note(case, quantity.metric)
    if cell.value is None or not note:
        return cell
    used.add(DAGGER)
    return Cell(f"{cell.text} {UNSUPPORTED}", cell.value, cell.detail, note)


def _ratio(pair: CasePair, quantity: ComparedQuantity, used: set[str]) -> Cell:
    baseline, candidate, reason = pair.values(quantity.metric)
    if reason := pair.incomparable or reason:
        return table.missing(reason)
    try:
        allowed = pair.allowance(quantity.metric)
    except Unavailable as unavailable:
        return table.missing(str(unavailable))
    change = change_of(list(map(quantity.of, baseline)), list(map(quantity.of, candidate)))
    interval = "no interval"
    if 0 < change.low <= change.high < math.inf:
        interval = f"{format_number(change.low)} – {format_number(change.high)}"
    if allowed:
        used.add(METERS)
        interval += f", devices ± {100 * allowed:.0f} %"
    return Cell(f"× {format_number(change.ratio)}", change.ratio, interval)


# -- the charts ------------------------------------------------------------------------------------


def charts(compared: Sequence[NamedResults]) -> list[Chart]:
    """Return a chart per quantity that any side has, with one bar per side and case."""
    wanted = [q for q in QUANTITIES if q.metric in CHARTED or q.numerator is not None]
    return [chart for quantity in wanted if not (chart := _chart(compared, quantity)).empty]


def _chart(compared: Sequence[NamedResults], quantity: ComparedQuantity) -> Chart:
    known = [bar for bar in _bars(compared, quantity) if bar.estimate.value is not None]
    return Chart(
        f"side-by-side-{quantity.metric}",
        quantity.label,
        bars(known, quantity.unit),
        f"{quantity.better.capitalize()} is better. {BARS} The table below has the numbers.",
        empty="" if known else "No side has this quantity.",
    )


def _bars(compared: Sequence[NamedResults], quantity: ComparedQuantity) -> Iterator[Bar]:
    """Yield, for each case of the baseline, a bar for each side that has the case."""
    baseline = compared[0]
    for case in baseline.cases:
        for index, side in enumerate(compared):
            if other := _partner(case, baseline, side):
                name = side.name if len(baseline.cases) == 1 else f"{case}, {side.name}"
                yield Bar(name, index, quantity.estimate(other))
