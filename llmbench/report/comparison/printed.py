"""Comparisons for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from llmbench.analysis.compare.comparison import Comparison
from llmbench.report import terminal, text
from llmbench.report.comparison import tables
from llmbench.report.comparison.machines import machines
from llmbench.report.comparison.side_by_side import figures, sides
from llmbench.report.table import Table


def as_rich(comparisons: Sequence[Comparison], *, side_by_side: bool = False) -> Group:
    """Return the tables of each comparison and, if asked, those of all sides together."""
    printed = [part for comparison in comparisons for part in _printed(comparison)]
    for table in _side_by_side(comparisons) if side_by_side else ():
        rows = [terminal.as_rich(table)] if table.rows else []
        printed += [Text(f"\n{table.title}", "bold"), *rows, Text(table.note, "dim")]
    return Group(*printed)


def _printed(comparison: Comparison) -> Iterator[RenderableType]:
    candidate, baseline = comparison.candidate.folder.name, comparison.baseline.folder.name
    yield Text.assemble("\n", (candidate, "bold"), " against ", (baseline, "bold"))
    yield Text(tables.headline(comparison))
    table = tables.verdicts(comparison)
    yield terminal.as_rich(table)
    yield Text(table.note, "dim")
    for table in (tables.causes(comparison), tables.differences(comparison)):
        if table.rows:
            yield Text(f"\n{table.title}", "bold")
            yield terminal.as_rich(table)
        if table.note:
            yield Text(table.note, "dim")


def as_markdown(comparisons: Sequence[Comparison], *, side_by_side: bool = False) -> str:
    """Return what as_rich does, as Markdown."""
    parts = ["\n\n".join(_written(comparison)) for comparison in comparisons]
    if side_by_side:
        parts += [f"\n{_section(table, 2)}".rstrip("\n") for table in _side_by_side(comparisons)]
    return "\n".join(parts) + "\n"


def _written(comparison: Comparison) -> Iterator[str]:
    yield f"## {comparison.candidate.folder.name} against {comparison.baseline.folder.name}"
    yield tables.headline(comparison)
    yield text.as_markdown(tables.verdicts(comparison))
    for table in (tables.causes(comparison), tables.differences(comparison)):
        if table.rows:
            yield _section(table, 3)
        elif table.note:
            yield table.note


def _section(table: Table, level: int) -> str:
    return f"{'#' * level} {table.title}\n\n{text.as_markdown(table)}"


def _side_by_side(comparisons: Sequence[Comparison]) -> tuple[Table, Table]:
    """Return the figures and the machines of all sides."""
    every = sides([comparisons[0].baseline, *(each.candidate for each in comparisons)])
    return figures(every), machines(every)
