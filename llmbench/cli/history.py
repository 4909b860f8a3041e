"""``llmbench history``: the series of nights."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmbench.history import ChangePoint, Series
    from llmbench.report.cells import Cell, Table

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  llmbench history history.jsonl --add results/nightly   append a night, then show the series
  llmbench history history.jsonl                         show them
  llmbench history history.jsonl --json | jq '.[].changes'

The store has a line for each case and night, and stays small enough to be committed; two that grew
apart merge by putting their lines together (`merge=union` in .gitattributes). Adding a night twice
leaves one. Change points need 20 nights and are advice: `llmbench check` decides.
Exit codes: 0 done, 2 bad input.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "history",
        help="the series of nights, with the nights at which they moved",
        description="Append run sets to a store of nights, and show its series.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store", type=Path, help="a file of JSON lines")
    parser.add_argument(
        "--add", nargs="+", type=Path, default=[], metavar="RESULTS", help="results folders"
    )
    parser.add_argument("--json", action="store_true", help="print the series as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Append what is to be appended and show what there is."""
    from llmbench import history, store

    if arguments.add:
        added = history.add(arguments.store, [store.read(folder) for folder in arguments.add])
        if not arguments.json:
            print(f"{added} new in {arguments.store}")
    found = history.series(history.read(arguments.store))
    if arguments.json:
        print(json.dumps([asdict(series) for series in found], indent=1))
    else:
        _print(found)
    return 0


def _print(found: list[Series]) -> None:
    from rich.console import Console
    from rich.text import Text

    from llmbench.report.terminal import as_rich

    table = _table(found)
    Console().print(as_rich(table), Text(table.note, "dim"))


def _table(found: list[Series]) -> Table:
    from llmbench.comparison import metric_name
    from llmbench.metrics import METRICS
    from llmbench.report.cells import Cell, Column, Table, show

    columns = (
        *(Column(label, numeric=False) for label in ("scenario", "case", "metric")),
        *map(Column, ("nights", "median", "last")),
        Column("moved", numeric=False),
    )
    rows = []
    for series in found:
        metric = METRICS[metric_name(series.metric)]
        rows.append(
            (
                *map(Cell, (series.scenario, series.case, metric.label, str(len(series.nights)))),
                Cell(show(median(series.values), metric.unit)),
                Cell(show(series.values[-1], metric.unit)),
                _moved(series),
            )
        )
    return Table("Series of nights", columns, tuple(rows), " ".join(_notes(found)))


def _moved(series: Series) -> Cell:
    from llmbench.report.cells import MISSING, Cell

    if series.changes is None:
        return Cell(MISSING)
    return Cell("; ".join(map(_told, series.changes)) or "no")


def _told(change: ChangePoint) -> str:
    commit = f", {change.commit[:8]}" if change.commit else ""
    percent = 100 * (change.after / change.before - 1)
    return f"{percent:+.1f} % on {change.began_at[:10]}{commit} (p {change.p:.3f})"


def _notes(found: list[Series]) -> list[str]:
    from llmbench.history import FEWEST_NIGHTS

    notes = []
    if any(series.changes is None for series in found):
        notes.append(f"Whether a series moved takes {FEWEST_NIGHTS} nights.")
    if left_out := {(s.scenario, s.case): s.left_out for s in found if s.left_out}:
        told = ", ".join(f"{count} of {case}" for (_, case), count in left_out.items())
        notes.append(f"Of another machine or scenario than the last night, and left out: {told}.")
    return notes
