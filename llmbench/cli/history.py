"""``llmbench history``: nightly metrics and their change points."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from llmbench.cli import options

if TYPE_CHECKING:
    from llmbench.analysis.history import MetricHistory

HELP = "show nightly metrics and their change points"
DESCRIPTION = "Append run sets to a history file, and show each metric's history and change points."
EPILOG = """\
examples:
  llmbench history history.jsonl --add results/nightly   append a run set, then show the history
  llmbench history history.jsonl --add s3://bucket/nightly
  llmbench history history.jsonl                         show the history
  llmbench history history.jsonl --json | jq '.[].changes'
  llmbench report results/nightly --history history.jsonl   include it in a report

The file has one line per case and night, so it is small enough to commit. Diverged copies merge by
concatenation (`merge=union` in .gitattributes); duplicates are dropped. Change points need 20
nights and are advisory: only `llmbench check` decides.
Exit codes: 0 done, 2 bad input.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("store", type=options.local_path, help="the history file (JSON Lines)")
    text = "results folders to append"
    parser.add_argument(
        "--add", nargs="+", type=options.results, default=[], metavar="DIR", help=text
    )
    options.add_json(parser, "the history of each metric")


def run(arguments: argparse.Namespace) -> int:
    """Append run sets to the history file, and show the history of each metric."""
    from llmbench.analysis import history
    from llmbench.runs import store

    if arguments.add:
        added = history.add(arguments.store, [store.read(folder) for folder in arguments.add])
        if not arguments.json:
            print(f"cases added to {arguments.store}: {added}")
    histories = history.histories(history.read(arguments.store))
    if arguments.json:
        print(json.dumps(list(map(asdict, histories)), indent=1))
    else:
        _print(histories)
    return 0


def _print(histories: list[MetricHistory]) -> None:
    from rich.text import Text

    from llmbench.report.console import on_stdout
    from llmbench.report.sections import history
    from llmbench.report.terminal import Fitting

    table = history.table(histories)
    on_stdout().print(Fitting(table), Text(table.note, "dim"))
