"""``llmbench baseline``: write a run set as a baseline file."""

from __future__ import annotations

import argparse

from llmbench.cli import options

HELP = "write a run set as a small baseline file for check and compare"
DESCRIPTION = "Write a run set as a baseline file, to review and commit."
EPILOG = """\
examples:
  llmbench baseline results/nightly baselines/cpu.json
  llmbench check gate --baseline baselines/cpu.json
  llmbench compare baselines/cpu.json results/today

No other command changes a baseline. The file has one line per metric, with one value per process,
so diffs are readable. Differences from an existing file are printed before it is replaced.
Exit codes: 0 written, 2 bad input.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "results", type=options.results, help="the results folder to write as a baseline"
    )
    parser.add_argument(
        "file", type=options.local_path, help="the baseline file to write or replace"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the differences from an existing baseline file, and write the new one."""
    from llmbench import report
    from llmbench.analysis import baseline_file
    from llmbench.analysis.compare.comparison import compare
    from llmbench.errors import InputError
    from llmbench.runs import store

    measured = store.read(arguments.results)
    if measured.missing:
        raise InputError(
            f"{arguments.results}: {len(measured.missing)} of {len(measured.plan)} runs are not "
            f"measured; continue with `llmbench run --resume {arguments.results}`"
        )
    if arguments.file.exists():
        report.show([compare(baseline_file.read(arguments.file), measured)])
    baseline_file.write(measured, arguments.file)
    print(f"baseline  {arguments.file}")
    return 0
