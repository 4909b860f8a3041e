"""The kinds of node that a scenario was measured on: what they are, and how they compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from llmbench.analysis.metrics import METRICS
from llmbench.report import hardware, table
from llmbench.report.charts import Chart
from llmbench.report.comparison.machines import FACTS
from llmbench.report.hardware import Group, Kind, Row
from llmbench.report.results import Results
from llmbench.report.scenario_text import is_open_loop
from llmbench.report.sections import ratios
from llmbench.report.sections.ratios import Ratio
from llmbench.report.table import Cell, Column, Table

SHOWN_FACTS = ("CPU", "usable CPU cores", "memory", "GPU", "GPU memory", "GPU power limit")
MOST_CHARTS = 12
RATIOS = (
    "Ratios are to the first kind, with 95 % rank intervals over processes. A difference is called "
    "if its interval is beyond the tolerance (for energies of different devices: 10 %) and it is "
    "significant among all comparisons of the table."
)
BRIEF = "× is the ratio to the first kind; in parentheses, no difference is called."
OFFERED = "The load is open-loop: every node that keeps up has the offered throughput."


@dataclass(frozen=True)
class Section:
    """The parts of the page's section; there is one chart per case."""

    scope: str
    kinds: Table
    compared: Table
    charts: list[Chart]


def section(results: Results) -> Section | None:
    """Return the comparison of the kinds of node; None if there are not several."""
    groups = hardware.groups(results)
    if not groups:
        return None
    measured, rows = hardware.kinds(groups), hardware.rows(groups)
    return Section(
        hardware.scope(measured),
        _kinds(measured),
        _compared(groups, rows, is_open=is_open_loop(results)),
        [_chart(number, group, rows) for number, group in enumerate(groups[:MOST_CHARTS])],
    )


def brief(results: Results) -> Table:
    """Return one row per case and kind for the terminal: known metrics, with ratios below."""
    groups = hardware.groups(results)
    rows = hardware.rows(groups)
    known = {row.metric for row in rows if row.estimate.value is not None}
    labels = {row.metric: row.group.label(row.metric) for row in rows if row.metric in known}
    by_kind: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        by_kind.setdefault((row.group.name, row.of.kind), {})[row.metric] = row
    columns = (*table.text_columns("case", "node"), *map(Column, labels.values()))
    made = tuple(
        (Cell(name), Cell(kind), *(_brief(of[metric]) for metric in labels))
        for (name, kind), of in by_kind.items()
    )
    return Table("Kinds of node compared", columns, made, BRIEF)


def _brief(row: Row) -> Cell:
    cell = _value(row)
    if row.verdict is None or row.verdict.change is None:
        return replace(cell, detail="")
    ratio = hardware.ratio_of(row.verdict).partition(",")[0]
    is_called = row.verdict.outcome in hardware.CALLED
    return replace(cell, detail=ratio if is_called else f"({ratio})")


# -- the kinds -------------------------------------------------------------------------------------


def _kinds(measured: Sequence[Kind]) -> Table:
    """Return one row per kind: how many devices were measured, and what they are."""
    facts = {label: [_fact(kind, label) for kind in measured] for label in SHOWN_FACTS}
    known = {label: cells for label, cells in facts.items() if any(cell.text for cell in cells)}
    columns = (
        *table.text_columns("kind"),
        Column("GPUs", "physical GPUs that were measured, by UUID"),
        Column("nodes", "machines that were measured, by name"),
        Column("processes", "measured processes of all cases"),
        Column("spread", f"largest difference in {METRICS[hardware.SPEED].label} between devices"),
        *table.text_columns(*known),
    )
    rows = tuple(
        (
            Cell(kind.name),
            _number(len(kind.measured.gpus), "the runs name no GPU"),
            _number(len(kind.measured.nodes), "the runs name no node"),
            table.count(len(kind.runs)),
            table.quantity(kind.spread, "share", "needs two devices of the kind"),
            *(cells[index] for cells in known.values()),
        )
        for index, kind in enumerate(measured)
    )
    return Table("Kinds of node", columns, rows)


def _fact(kind: Kind, label: str) -> Cell:
    values = {str(value) for run in kind.runs if (value := FACTS[label](run)) is not None}
    return Cell(" / ".join(sorted(values)))


def _number(count: int, reason: str) -> Cell:
    return table.count(count) if count else table.missing(reason)


# -- the comparison --------------------------------------------------------------------------------


def _compared(groups: Sequence[Group], rows: Sequence[Row], *, is_open: bool) -> Table:
    names = list(dict.fromkeys(of.kind for group in groups for of in group.kinds))
    columns = (
        *table.text_columns("case", "metric"),
        *(column for name in names for column in _columns(name, names[0])),
    )
    made = tuple(
        (Cell(group.name), Cell(group.label(metric), detail=_better(metric)), *_cells(of, names))
        for group in groups
        for metric, of in _by_metric(group, rows)
    )
    notes = [RATIOS, *([OFFERED] if is_open else []), *table.reasons(row[1:] for row in made)]
    return Table("Kinds of node compared", columns, made, " ".join(notes))


def _columns(name: str, first: str) -> Iterator[Column]:
    yield Column(name, "geometric mean over processes, with its interval")
    if name != first:
        yield Column(f"{name} ÷ {first}", "ratio with its 95 % rank interval over processes")


def _better(metric: str) -> str:
    return f"{METRICS[metric].better} is better"


def _by_metric(group: Group, rows: Sequence[Row]) -> Iterator[tuple[str, dict[str, Row]]]:
    of_group = [row for row in rows if row.group is group]
    for metric, of_metric in groupby(of_group, key=lambda row: row.metric):
        yield metric, {row.of.kind: row for row in of_metric}


def _cells(of: dict[str, Row], names: Sequence[str]) -> Iterator[Cell]:
    for name in names:
        row = of.get(name)
        yield _value(row)
        if name != names[0]:
            yield _ratio(row, next(iter(of.values())).of.kind, names[0])


def _value(row: Row | None) -> Cell:
    if row is None:
        return table.missing("not measured on this kind")
    return table.of_value(row.estimate, METRICS[row.metric].unit)


def _ratio(row: Row | None, reference: str, first: str) -> Cell:
    if row is None:
        return table.missing("not measured on this kind")
    if reference != first or row.verdict is None:
        return table.missing(f"this case was not measured on {first}")
    if row.verdict.change is None:
        return table.missing(row.verdict.reason)
    ratio, _, interval = hardware.ratio_of(row.verdict).partition(", ")
    words = hardware.words_of(row.verdict)
    return Cell(ratio, row.verdict.change.ratio, f"{interval}; {words}")


# -- the charts ------------------------------------------------------------------------------------


def _chart(number: int, group: Group, rows: Sequence[Row]) -> Chart:
    """Draw how many times better each kind is than the first, one row per metric."""
    first = group.kinds[0].case.name
    known = [
        Ratio.of(row.metric, row.of.case, row.verdict.change, group.label(row.metric))
        for row in rows
        if row.group is group and row.verdict and row.verdict.change
    ]
    made = ratios.drawn(f"hardware-{number}", first, known)
    return replace(made, title=group.name)
