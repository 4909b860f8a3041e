"""The command line: one file per subcommand."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from llmbench import __version__
from llmbench.cli import (
    aa_test,
    baseline,
    check,
    compare,
    completion,
    conformance,
    distill,
    doctor,
    export,
    history,
    import_results,
    init,
    interrupts,
    logs,
    meter,
    options,
    peak,
    profile,
    report,
    results,
    run,
    schema,
    serve,
    simulate,
    streams,
    tune,
)
from llmbench.cli import list as listing
from llmbench.cli import open as opening
from llmbench.cli.help_text import HelpFormatter, fitted
from llmbench.cli.options import Command
from llmbench.errors import InputError, LlmbenchError
from llmbench.runs.redaction import redact

__all__ = ["build_parser", "main"]

COMMANDS: dict[str, Command] = {
    "run": run, "init": init, "open": opening, "peak": peak, "tune": tune, "profile": profile,
    "simulate": simulate, "report": report, "results": results,
    "compare": compare, "check": check, "aa": aa_test, "history": history, "baseline": baseline,
    "import": import_results, "meter": meter, "distill": distill, "list": listing,
    "doctor": doctor, "conformance": conformance, "schema": schema, "serve": serve,
    "export": export,
}  # fmt: skip

GUIDE = """\
Benchmark LLM inference: one scenario, any backend, realistic load.

Measure:
  llmbench run default                   two backends, small model; 5 minutes
  llmbench run --model MODEL --backends eager,compiled --rate 8
  llmbench run --url http://localhost:8000 --concurrency 16
  llmbench open                          the report, in the browser

Then:
  llmbench init                          write a scenario of your own
  llmbench compare results/a results/b   what changed between two runs
  llmbench list                          scenarios, backends, loads, models
  llmbench doctor                        what this machine lacks

All commands: llmbench --help. One of them: llmbench COMMAND --help.
"""
EXAMPLES = """\
examples:
  llmbench run default                             measure, print a table, write report.html
  llmbench run scenario.yaml --set load.rate=8     a file of your own, with another rate
  llmbench run --model builtin:tiny --backends eager,compiled --rate 8
  llmbench open                                    the newest report in the browser
  llmbench peak scenario.yaml                      the highest load that meets the SLOs
  llmbench tune scenario.yaml --maximize throughput --over engine.slots=4,8,16
  llmbench simulate capacity --from results/capacity --replicas 1..8 --load.rate 10..400
  llmbench profile backends                        where each backend's step time goes
  llmbench run --resume results/default-20260101-120000
  llmbench report results/default-20260101-120000  rewrite the report from stored runs
  llmbench serve results                           browse all reports
  llmbench compare results/monday results/tuesday  what changed
  llmbench check default --baseline git:main
  llmbench aa gate                                 the false-alarm rate of that check
  llmbench history history.jsonl --add results/tonight
  llmbench baseline results/tonight baseline.json  a baseline for check and compare
  llmbench import guidellm.json --out results/old  report results of other load tools
  llmbench meter results/tonight meter.csv         attach a wall meter's readings
  llmbench distill --teacher builtin:tiny --layers 2 --out students/tiny-2
  llmbench conformance --url http://host:8000      test a server's responses
  llmbench doctor                                  describe this machine and what it lacks

exit codes: 0 success, 1 a run failed, 2 bad input; interrupted by Ctrl-C 130, by SIGTERM 143,
by SIGHUP (a closed terminal) 129: finished runs are kept, and a second signal ends at once;
stdout is full or closed 1, is a pipe whose reader left 141: only the rest of the output is lost
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    with streams.lossy() as stdout:
        try:
            code = _run(argv)
        except SystemExit as ended:  # of --help, or of a wrong option
            raise SystemExit(streams.exit_code(int(ended.code or 0), stdout)) from None
        return streams.exit_code(code, stdout)


def _run(argv: Sequence[str] | None) -> int:
    try:
        parser = build_parser()
        if completion.is_requested():
            completion.answer(parser)
        _check_command(*(sys.argv[1:] if argv is None else argv)[:1])
        arguments = parser.parse_args(argv)
        logs.set_up(verbose=getattr(arguments, "verbose", False))
        with interrupts.raised():
            options.open_urls(arguments)
            code: int = arguments.run(arguments)
    except LlmbenchError as error:
        print(f"llmbench: {_message(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        return interrupts.exit_code(interrupt)
    return code


def _message(error: LlmbenchError) -> str:
    """Return an error's message without secrets, and with the URLs of results in stores."""
    from llmbench.runs.remote import with_addresses

    return redact(with_addresses(str(error)))


def _check_command(first: str = "-") -> None:
    """Raise InputError, with a hint, if the first argument is neither an option nor a command."""
    if first.startswith("-") or first in COMMANDS:
        return
    if first.endswith((".yaml", ".yml")):
        raise InputError(f"{first!r} is not a command; to measure it: llmbench run {first}")
    near = get_close_matches(first, COMMANDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise InputError(f"no command named {first!r}{hint} All commands: llmbench --help")


def _guide(_: argparse.Namespace) -> int:
    """Print what to type first."""
    print(fitted(GUIDE, shutil.get_terminal_size().columns))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the command-line parser with every subcommand."""
    parser = argparse.ArgumentParser(
        prog="llmbench",
        description="Benchmark LLM inference: one scenario, any backend, realistic load.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llmbench {__version__}")
    parser.set_defaults(run=_guide)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = subparsers.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=command.EPILOG,
            formatter_class=HelpFormatter,
        )
        command.add_arguments(added)
        text = f"log stages to stderr; {logs.VARIABLE}=debug logs more"
        added.add_argument("--verbose", "-v", action="store_true", help=text)
        added.set_defaults(run=command.run)
    return parser
