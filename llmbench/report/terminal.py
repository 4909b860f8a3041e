"""Results, profiles and tables for the terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from llmbench.report.conclusions import MAX_SENTENCES, answer, completeness
from llmbench.report.console import AMPLE_WIDTH
from llmbench.report.results import Results, results_of
from llmbench.report.sections import findings, hardware, overview, profiled, ratios
from llmbench.report.table import UNSUPPORTED, Cell, Column, Table
from llmbench.runs.profile import Profile
from llmbench.runs.run_set import RunSet

MAX_CAVEATS = 6
MAX_BARS = 20
COLORS = {"invalid": "bold red", "warning": "bold yellow", "note": "bold"}
NAME_WIDTH, LEAST_NAME_WIDTH, COLUMN_GAP = 15, 5, 3
USES = 6  # kernels or operators listed per phase
# columns dropped on a narrow terminal, in this order
DROPPABLE = (
    "determinism check", "harness", "requests/s", "ITL p50", "E2E p50", "busy", "launches/step",
    "category", "tolerance",
)  # fmt: skip


def run_set(stored: RunSet) -> Group:
    """Return a run set's conclusions, table of cases, failed runs and caveats for the terminal."""
    results = results_of(stored)
    table = [Text(), *_untitled(overview.brief(results))] if results.cases else []
    bars = ratios.bars(results)
    picture = titled(bars) if 0 < len(bars.rows) <= MAX_BARS else []
    return Group(
        Text(),
        Text.assemble((stored.name, "bold"), "  ", (completeness(results), "dim")),
        *_sentences(answer(results)),
        *picture,
        *table,
        *_of_hardware(results),
        _remarks(results),
    )


def _of_hardware(results: Results) -> list[RenderableType]:
    """Return the comparison of the kinds of node, if it is not too long."""
    compared = hardware.brief(results)
    return titled(compared) if 0 < len(compared.rows) <= MAX_BARS else []


def _sentences(answer: list[str]) -> list[Text]:
    """Return the first sentences of an answer, and how many more the report has."""
    more = len(answer) - MAX_SENTENCES
    rest = [Text(f"… and {more} more sentences in the report", "dim")] if more > 0 else []
    return [*map(Text, answer[:MAX_SENTENCES]), *rest]


def profile(stored: Profile) -> Group:
    """Return a profile's step times by category and longest kernels per phase, for the terminal."""
    uses = [profiled.uses(case, phase, USES) for case, phase in stored.phases()]
    tables = (profiled.shares(stored), profiled.phases(stored), *uses)
    return Group(
        Text(),
        Text.assemble((stored.name, "bold"), "  ", (profiled.completeness(stored), "dim")),
        *map(Text, profiled.answer(stored)),
        *(part for table in tables for part in titled(table)),
        *(
            Text.assemble(("caveat", "yellow"), f"  {case.case.name}  {caveat}")
            for case in stored.cases
            for caveat in case.caveats
        ),
    )


def titled(table: Table) -> list[RenderableType]:
    """Return a table with its title and note, for the terminal."""
    return [Text(f"\n{table.title}", "bold"), *_untitled(table)]


def _untitled(table: Table) -> list[RenderableType]:
    return [Fitting(table), *([Text(table.note, "dim")] if table.note else [])]


def as_rich(table: Table, name_width: int = NAME_WIDTH) -> RichTable:
    """Return a table as a ``rich.table.Table``; texts keep ``name_width`` characters."""
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column, *cells in zip(table.columns, *table.rows, strict=True):
        _add_column(shown, column, cells, name_width)
    for row in table.rows:
        shown.add_row(*map(_cell, row))
    return shown


@dataclass(frozen=True)
class Fitting:
    """A table that drops DROPPABLE columns, then folds names, until it fits the terminal."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, ample = self.table, options.update(max_width=AMPLE_WIDTH)

        for label in (label for label in DROPPABLE if label in _labels(table)):
            if console.measure(as_rich(table), options=ample).minimum > options.max_width:
                table = _without(table, label)
        shown = as_rich(table)
        for name_width in range(NAME_WIDTH - 1, LEAST_NAME_WIDTH, -1):
            if _least_width(shown) > options.max_width:
                shown = as_rich(table, name_width)
        yield shown


def _least_width(table: RichTable) -> int:
    """Return the width of a table whose texts are folded as far as they may be."""
    return sum((column.min_width or 0) + COLUMN_GAP for column in table.columns)


def _labels(table: Table) -> list[str]:
    return [column.label for column in table.columns]


def _without(table: Table, label: str) -> Table:
    index = _labels(table).index(label)
    return replace(
        table,
        columns=table.columns[:index] + table.columns[index + 1 :],
        rows=tuple(row[:index] + row[index + 1 :] for row in table.rows),
    )


def _add_column(shown: RichTable, column: Column, cells: list[Cell], name_width: int) -> None:
    """Add a column that wraps texts but never numbers."""
    label = column.label.replace(" ", "\n", 1) if column.numeric else column.label
    lines = [*label.split("\n"), *(text for cell in cells for text in (cell.text, cell.detail))]
    width = max(map(len, lines))
    if column.numeric:
        shown.add_column(Text(label), justify="right", min_width=width, no_wrap=True)
    else:
        shown.add_column(Text(label), min_width=min(name_width, width), overflow="fold")


def _cell(cell: Cell) -> Text:
    text = Text(cell.text)
    if cell.detail:
        text.append(f"\n{cell.detail}", "dim")
    return text


def _remarks(results: Results) -> RichTable:
    """Return the failed runs and the first MAX_CAVEATS caveats, one per labeled row."""
    shown = RichTable.grid(padding=(0, 2))
    for failure, names in findings.failures(results.run_set).items():
        text = Text.assemble((", ".join(names), "bold"), "  ", failure.message)
        shown.add_row(Text("failed", "bold red"), text)
    every = findings.find(results)
    for finding in every[:MAX_CAVEATS]:
        scope = findings.scope(finding, results)
        text = Text.assemble((scope, "bold"), "  ", finding.message, " ")
        shown.add_row(
            Text("caveat", COLORS[finding.caveat.severity]),
            text.append(finding.caveat.remedy, "dim"),
        )
    if len(every) > MAX_CAVEATS:
        shown.add_row("", Text(f"{len(every) - MAX_CAVEATS} more caveats are in the report", "dim"))
    if any(finding.caveat.kind == "unsupported-percentile" for finding in every):
        shown.add_row(Text(UNSUPPORTED), Text("marks a percentile with too few samples", "dim"))
    return shown
