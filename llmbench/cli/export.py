"""``llmbench export``: write stored results in formats that other programs read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import options
from llmbench.errors import InputError

if TYPE_CHECKING:
    from llmbench.report.frames import RunSet

HELP = "write stored results as CSV, JSON, Parquet, Markdown or Benchmark Report"
DESCRIPTION = "Write stored results to stdout in a format that other programs read."
EPILOG = """\
examples:
  llmbench export results/tonight --format csv > summary.csv
  llmbench export results/tonight --format pytest-benchmark --out tonight.json
  llmbench export results/tonight --format markdown          the headline table, for a pull request
  llmbench export results/tonight --format llm-d --out reports   a Benchmark Report 0.2 per run
  llmbench export results/tonight --what records --format json | jq '.[0]'
  llmbench export results/tonight --what records --format parquet --out records.parquet

what:
  summary   one row per case and metric: the figure over processes with its interval
  runs      one row per run and metric
  records   one row per request
  series    one row per telemetry reading
  hardware  one row per case, metric and kind of node, with its ratio to the first kind
"""
FORMATS = ("csv", "json", "parquet", "markdown", "pytest-benchmark", "llm-d")
OF_RUN_SET = ("pytest-benchmark", "llm-d")
WHAT = ("summary", "runs", "records", "series", "hardware")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folder", type=options.results, metavar="DIR", help="a results folder")
    parser.add_argument("--format", required=True, choices=FORMATS, help="output format")
    parser.add_argument("--what", choices=WHAT, default="summary", help="rows to write; see below")
    text = "file to write instead of stdout; for llm-d, a folder"
    options.add_path(parser, "--out", "FILE", text)


def run(arguments: argparse.Namespace) -> int:
    """Write the selected rows of the results in the selected format."""
    from llmbench.report.frames import RunSet

    if arguments.format == "parquet" and not arguments.out:
        raise InputError("Parquet is binary; write it to a file with --out")
    if arguments.format == "llm-d" and not arguments.out:
        raise InputError("llm-d's reports are one file per run; write them to a folder with --out")
    run_set = RunSet.read(arguments.folder)
    if getattr(run_set, arguments.what).empty:
        if arguments.what == "hardware" and not run_set.summary.empty:
            raise InputError(
                f"{arguments.folder}: was measured on one kind of node; measure a scenario with "
                "`nodes: each`, or specify another --what"
            )
        raise InputError(
            f"{arguments.folder}: has no {arguments.what}; measure its missing runs with "
            "`llmbench run --resume`, or specify another --what"
        )
    try:
        _export(run_set, arguments)
    except OSError as error:
        raise InputError(f"{arguments.out}: cannot be written: {error.strerror}") from error
    return 0


def _export(run_set: RunSet, arguments: argparse.Namespace) -> None:
    from llmbench import report

    is_headline = (arguments.format, arguments.what) == ("markdown", "summary")
    whole = is_headline or arguments.format in OF_RUN_SET
    subject = run_set.stored if whole else getattr(run_set, arguments.what)
    exported = report.render(subject, arguments.format)
    if isinstance(exported, dict):
        _write_files(exported, arguments.out)
    elif isinstance(exported, bytes):
        arguments.out.write_bytes(exported)
    elif arguments.out:
        arguments.out.write_text(exported, encoding="utf-8")
    else:
        sys.stdout.write(exported)


def _write_files(texts: dict[str, str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n", encoding="utf-8")
