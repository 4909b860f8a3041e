"""``llmbench history``: the series of nights."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import options

if TYPE_CHECKING:
    from llmbench.analysis.history import MetricHistory

HELP = "show metrics night by night, with their change points"
DESCRIPTION = "Append run sets to a history file, and show its series."
EPILOG = """\
examples:
  llmbench history history.jsonl --add results/nightly   append a night, then show the series
  llmbench history history.jsonl                         show them
  llmbench history history.jsonl --json | jq '.[].changes'
  llmbench report results/nightly --history history.jsonl   show them in the night's report

The store has a line for each case and night, and stays small enough to be committed; two that grew
apart merge by putting their lines together (`merge=union` in .gitattributes). Adding a night twice
leaves one. Change points need 20 nights and are advice: `llmbench check` decides.
Exit codes: 0 done, 2 bad input.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", type=Path, help="a file of JSON lines")
    parser.add_argument(
        "--add", nargs="+", type=Path, default=[], metavar="RESULTS", help="results folders"
    )
    options.add_json(parser, "the series")


def run(arguments: argparse.Namespace) -> int:
    """Append what is to be appended and show what there is."""
    from llmbench.analysis import history
    from llmbench.runs import store

    if arguments.add:
        added = history.add(arguments.store, [store.read(folder) for folder in arguments.add])
        if not arguments.json:
            print(f"{added} new in {arguments.store}")
    found = history.histories(history.read(arguments.store))
    if arguments.json:
        print(json.dumps([asdict(series) for series in found], indent=1))
    else:
        _print(found)
    return 0


def _print(found: list[MetricHistory]) -> None:
    from rich.console import Console
    from rich.text import Text

    from llmbench.report.sections import history
    from llmbench.report.terminal import as_rich

    table = history.table(found)
    Console().print(as_rich(table), Text(table.note, "dim"))
