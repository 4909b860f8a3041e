"""The command line: one file a subcommand.

Exit codes: 0 done, 1 some run failed, 2 bad input, 130 interrupted with finished runs kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from llmbench import __version__
from llmbench.cli import (
    aa_test,
    baseline,
    check,
    compare,
    conformance,
    distill,
    doctor,
    export,
    history,
    import_results,
    meter,
    peak,
    profile,
    report,
    run,
    schema,
    serve,
)
from llmbench.cli import list as listing
from llmbench.errors import LlmbenchError

__all__ = ["build_parser", "main"]

INTERRUPTED = 130
COMMANDS = (
    run, peak, profile, report, compare, check, aa_test, history, baseline, import_results,
    meter, distill, listing, doctor, conformance, schema, serve, export,
)  # fmt: skip

EXAMPLES = """\
examples:
  llmbench run scenarios/default.yaml              measure, print a table, write report.html
  llmbench run scenarios/default.yaml --set load.rate=8
  llmbench peak scenario.yaml                      the highest load that meets its objectives
  llmbench profile scenarios/backends.yaml         what the time of each backend's steps goes to
  llmbench run --resume results/default-20260101-120000
  llmbench report results/default-20260101-120000  make the report again from what is stored
  llmbench serve results                           look at all of them in a browser
  llmbench compare results/monday results/tuesday  what changed, and what does not show
  llmbench check scenarios/default.yaml --baseline git:main
  llmbench aa scenarios/gate.yaml                  how often that check errs on this machine
  llmbench history history.jsonl --add results/tonight
  llmbench baseline results/tonight baseline.json  what others are held against from now on
  llmbench import guidellm.json --out results/old  results of other load tools in our report
  llmbench meter results/tonight meter.csv         what a wall meter read meanwhile
  llmbench distill --teacher builtin:tiny --layers 2 --out students/tiny-2
  llmbench conformance --url http://host:8000      what a server does that clients rely on
  llmbench doctor                                  what this machine is and what it lacks
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except LlmbenchError as error:
        print(f"llmbench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of a pipe, such as `head`, has seen enough; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line, with every subcommand."""
    parser = argparse.ArgumentParser(
        prog="llmbench",
        description="Benchmark LLM inference: one scenario, any backend, realistic load.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llmbench {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser
