"""``llmbench open``: open a report in the browser."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from llmbench.cli import options
from llmbench.errors import InputError

HELP = "open the newest report in the browser"
DESCRIPTION = "Open the report of a results folder, or the newest report below a folder."
EPILOG = """\
examples:
  llmbench open                     the newest report in results/
  llmbench open results/tonight
  llmbench open s3://bucket/tonight

The path is printed in any case. To browse the reports of another machine: llmbench serve --help
Exit codes: 0 opened, 1 no browser, 2 no report.
"""
REPORT = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    folder, text = Path("results"), "a results folder, or one that contains some (default: results)"
    parser.add_argument(
        "folder", nargs="?", type=options.reports, default=folder, metavar="DIR", help=text
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the path of the report and open it."""
    page = newest_report(arguments.folder)
    print(page, flush=True)
    if webbrowser.open(page.resolve().as_uri()):
        return 0
    print("llmbench: no browser found; open this file in one", file=sys.stderr)
    return 1


def newest_report(folder: Path) -> Path:
    """Return the report of a folder, or the newest below it; raises InputError without one."""
    from llmbench.runs.profile import is_profile
    from llmbench.runs.store import MANIFEST

    own = folder / REPORT
    if own.is_file():
        return own
    if reports := list(folder.rglob(REPORT)):
        return max(reports, key=lambda page: page.stat().st_mtime)
    if (folder / MANIFEST).is_file() or is_profile(folder):
        raise InputError(f"{folder}: has no {REPORT}; write it with: llmbench report {folder}")
    raise InputError(
        f"{folder}: no report found; measure first, such as with: llmbench run default"
    )
