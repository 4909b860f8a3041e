"""``llmbench import``: results of other load tools as runs of ours."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli.folders import usual_folder

if TYPE_CHECKING:
    from llmbench.runs.store import RunSet

EXAMPLES = """\
examples:
  llmbench import guidellm.json                    writes results/imported-DATE
  llmbench import vllm.json guidellm.json artifacts/profile_export.jsonl --out results/old
  llmbench import vllm.json --name before --out results/before --json

It reads vllm bench serve --save-result --save-detailed, guidellm's JSON report, and aiperf's
profile_export.jsonl; which of them a file is, is told by its content. Exit codes: 0 imported,
2 bad input.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "import",
        help="read results of vllm bench, guidellm and aiperf",
        description="Keep results of other load tools as runs, print their table and report them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a result file")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="new results folder (results/imported-DATE)"
    )
    parser.add_argument("--name", help="name of the case, for one file (its tool and file name)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--quiet", "-q", action="store_true", help="no table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import, report, and show what the files say."""
    from llmbench import report
    from llmbench.runs.imports.run_set import import_results

    folder = arguments.out or usual_folder("imported")
    run_set = import_results(arguments.files, folder, arguments.name)
    page = folder / "report.html"
    report.write(run_set, page)
    if arguments.json:
        _print_json(run_set, page)
    elif not arguments.quiet:
        _print_table(run_set, page)
    return 0


def _print_json(run_set: RunSet, page: Path) -> None:
    from llmbench.report.frames import summary

    told = {"folder": str(run_set.folder), "report": str(page), **summary(run_set)}
    print(json.dumps(told, indent=1))


def _print_table(run_set: RunSet, page: Path) -> None:
    from llmbench import report

    report.show(run_set)
    print(f"\nresults  {run_set.folder}\nreport   {page}")
