"""``llmbench report``: rewrite the reports of stored results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import options, output
from llmbench.errors import InputError

if TYPE_CHECKING:
    from llmbench.runs.profile import Profile
    from llmbench.runs.run_set import RunSet

HELP = "rewrite the report of stored results"
DESCRIPTION = "Rewrite report.html from stored runs and print their table."
EPILOG = """\
examples:
  llmbench report results/tonight                  writes results/tonight/report.html
  llmbench report results/tonight --out page.html
  llmbench report results/*                        one report per folder
  llmbench report s3://bucket/tonight              writes s3://bucket/tonight/report.html
  llmbench report results/tonight --json           the summary as JSON instead of a table
  llmbench report results/tonight --history history.jsonl --profile results/tonight-profile
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    text = "a results folder, or its URL in a store"
    parser.add_argument("folders", nargs="+", type=options.results, metavar="DIR", help=text)
    options.add_path(parser, "--out", "FILE", "HTML file to write (default: DIR/report.html)")
    options.add_path(parser, "--history", "FILE", "include a history that `llmbench history` wrote")
    options.add_results(parser, "--profile", "include a profile that `llmbench profile` wrote")
    options.add_json(parser, "the summary")


def run(arguments: argparse.Namespace) -> int:
    """Write and print a report for each folder."""
    if arguments.out and len(arguments.folders) > 1:
        raise InputError("--out accepts a single folder; omit it to write one report per folder")
    reports = []
    for folder in arguments.folders:
        page = arguments.out or folder / "report.html"
        reports.append((_write(folder, page, arguments), page))
    if arguments.json:
        print(json.dumps([output.as_dict(*report) for report in reports], indent=1))
    else:
        for report in reports:
            output.print_table(*report)
    return 0


def _write(folder: Path, page: Path, arguments: argparse.Namespace) -> RunSet | Profile:
    """Write the report of a folder's run set or profile, and return the stored results."""
    from llmbench import report
    from llmbench.report import attachments
    from llmbench.runs import profile, remote, store

    if profile.is_profile(folder):
        if arguments.history or arguments.profile:
            raise InputError(f"{folder}: is a profile; --history and --profile need a run set")
        profiled = profile.read(folder)
        report.write(profiled, page)
        remote.push(folder)
        return profiled
    run_set = store.read(folder)
    attached = attachments.read(run_set.name, arguments.history, arguments.profile)
    report.write(run_set, page, attachments=attached)
    remote.push(folder)
    return run_set
