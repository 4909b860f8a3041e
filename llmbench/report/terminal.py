"""The results as a table for the terminal, with the caveats below it."""

from __future__ import annotations

from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from llmbench.report import findings, tables
from llmbench.report.answer import answer, completeness
from llmbench.report.cells import UNSUPPORTED, Cell, Column, Table
from llmbench.report.results import Results
from llmbench.store import RunSet

__all__ = ["print_summary"]

MAX_CAVEATS = 6


def print_summary(run_set: RunSet, console: Console) -> None:
    """Print what was found: the answer, one row a case, failed runs and caveats."""
    results = Results(run_set)
    console.print()
    console.print(Text.assemble((run_set.name, "bold"), "  ", (completeness(results), "dim")))
    for sentence in answer(results):
        console.print(Text(sentence))
    if results.cases:
        console.print()
        console.print(_table(tables.brief(results)))
    console.print(_remarks(results))


def _table(table: Table) -> RichTable:
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in table.columns:
        _add_column(shown, column)
    for row in table.rows:
        shown.add_row(*map(_cell, row))
    return shown


def _add_column(shown: RichTable, column: Column) -> None:
    label = column.label.replace(" ", "\n", 1) if column.numeric else column.label
    justify: Literal["left", "right"] = "right" if column.numeric else "left"
    shown.add_column(Text(label), justify=justify, vertical="top", no_wrap=column.numeric)


def _cell(cell: Cell) -> Text:
    text = Text(cell.text)
    if cell.detail:
        text.append(f"\n{cell.detail}", "dim")
    return text


def _remarks(results: Results) -> RichTable:
    """List what failed and what to doubt, each with a label on its left."""
    shown = RichTable.grid(padding=(0, 2))
    for failure, names in findings.failures(results.run_set).items():
        told = Text.assemble((", ".join(names), "bold"), "  ", failure.message)
        shown.add_row(Text("failed", "bold red"), told)
    found = findings.find(results)
    for finding in found[:MAX_CAVEATS]:
        where = findings.place(finding, results)
        told = Text.assemble((where, "bold"), "  ", finding.caveat.message, " ")
        shown.add_row(Text("caveat", "bold yellow"), told.append(finding.caveat.remedy, "dim"))
    if len(found) > MAX_CAVEATS:
        shown.add_row("", Text(f"{len(found) - MAX_CAVEATS} more caveats are in the report", "dim"))
    if any(finding.caveat.kind == "unsupported-percentile" for finding in found):
        shown.add_row(Text(UNSUPPORTED), Text("marks a percentile with too few samples", "dim"))
    return shown
