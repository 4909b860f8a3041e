"""``llmbench report``: make reports again from what is stored."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmbench.store import RunSet

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  llmbench report results/tonight                  writes results/tonight/report.html
  llmbench report results/tonight --out page.html
  llmbench report results/*                        one report in each folder
  llmbench report results/tonight --json           the summary as JSON instead of a table
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="make the report of stored results again",
        description="Make report.html again from stored runs and print their table.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a results folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: DIR/report.html")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write a report for each folder and show what it says."""
    from llmbench import report, store
    from llmbench.errors import InputError

    if arguments.out and len(arguments.folders) > 1:
        raise InputError("--out names one file; leave it out to write one report in each folder")
    told = []
    for folder in arguments.folders:
        run_set = store.read(folder)
        path = arguments.out or folder / "report.html"
        report.write(run_set, path)
        told.append((run_set, path))
    _print_json(told) if arguments.json else _print_tables(told)
    return 0


def _print_json(told: list[tuple[RunSet, Path]]) -> None:
    from llmbench.frames import summary

    entries = [
        {"folder": str(run_set.folder), "report": str(path), **summary(run_set)}
        for run_set, path in told
    ]
    print(json.dumps(entries, indent=1))


def _print_tables(told: list[tuple[RunSet, Path]]) -> None:
    from rich.console import Console

    from llmbench.report.terminal import print_summary

    for run_set, path in told:
        print_summary(run_set, Console())
        print(f"\nresults  {run_set.folder}\nreport   {path}")
