"""``llmbench baseline``: what a run set measured becomes what others are held against."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a run set as a small baseline file for check and compare"
DESCRIPTION = "Write a run set as a baseline file, to be reviewed and committed."
EPILOG = """\
examples:
  llmbench baseline results/nightly baselines/cpu.json
  llmbench check scenarios/gate.yaml --baseline baselines/cpu.json
  llmbench compare baselines/cpu.json results/today

Nothing else moves a baseline. The file has a line for each metric with a value for each process, so
that a review sees what moves; how it compares with the file that was there is printed.
Exit codes: 0 written, 2 bad input.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("results", type=Path, help="a results folder")
    parser.add_argument("file", type=Path, help="the baseline; replaced where it is there")


def run(arguments: argparse.Namespace) -> int:
    """Write the file, after showing what moves."""
    from llmbench import report
    from llmbench.analysis import baseline_file
    from llmbench.analysis.compare.comparison import compare
    from llmbench.errors import InputError
    from llmbench.runs import store

    measured = store.read(arguments.results)
    if measured.missing:
        raise InputError(
            f"{arguments.results}: {len(measured.missing)} of {len(measured.plan)} runs are not "
            "measured; go on with `llmbench run --resume`"
        )
    if arguments.file.exists():
        report.show([compare(baseline_file.read(arguments.file), measured)])
    baseline_file.write(measured, arguments.file)
    print(f"baseline  {arguments.file}")
    return 0
