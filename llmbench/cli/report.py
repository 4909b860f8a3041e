"""``llmbench report``: make reports again from what is stored."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmbench.runs.profile import Profile
    from llmbench.runs.store import RunSet

    Stored = RunSet | Profile

EXAMPLES = """\
examples:
  llmbench report results/tonight                  writes results/tonight/report.html
  llmbench report results/tonight --out page.html
  llmbench report results/*                        one report in each folder
  llmbench report results/tonight --json           the summary as JSON instead of a table
  llmbench report results/tonight --history history.jsonl --profile results/tonight-profile
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
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="show the nights that `llmbench history` keeps"
    )
    parser.add_argument(
        "--profile", type=Path, metavar="DIR", help="show what `llmbench profile` left"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write a report for each folder and show what it says."""
    from llmbench.errors import InputError

    if arguments.out and len(arguments.folders) > 1:
        raise InputError("--out names one file; leave it out to write one report in each folder")
    told = []
    for folder in arguments.folders:
        path = arguments.out or folder / "report.html"
        told.append((_written(folder, path, arguments), path))
    _print_json(told) if arguments.json else _print_tables(told)
    return 0


def _written(folder: Path, path: Path, arguments: argparse.Namespace) -> Stored:
    """Write the report of what a folder holds, a run set or a profile."""
    from llmbench import report
    from llmbench.errors import InputError
    from llmbench.report import attachments
    from llmbench.runs import profile, store

    if profile.is_profile(folder):
        if arguments.history or arguments.profile:
            raise InputError(f"{folder}: is a profile; --history and --profile go with run sets")
        profiled = profile.read(folder)
        report.write(profiled, path)
        return profiled
    run_set = store.read(folder)
    attached = attachments.read(run_set.name, arguments.history, arguments.profile)
    report.write(run_set, path, attachments=attached)
    return run_set


def _print_json(told: list[tuple[Stored, Path]]) -> None:
    from llmbench.cli.profile import told as told_of
    from llmbench.report.frames import summary
    from llmbench.runs.store import RunSet

    entries = [
        {
            "folder": str(stored.folder),
            "report": str(path),
            **(summary(stored) if isinstance(stored, RunSet) else told_of(stored)),
        }
        for stored, path in told
    ]
    print(json.dumps(entries, indent=1))


def _print_tables(told: list[tuple[Stored, Path]]) -> None:
    from llmbench import report

    for stored, path in told:
        report.show(stored)
        print(f"\nresults  {stored.folder}\nreport   {path}")
