"""``llmbench profile``: what the time of a backend's steps goes to."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbench.cli.folders import usual_folder

if TYPE_CHECKING:
    from rich.status import Status

    from llmbench.campaign.profile.passes import Asked
    from llmbench.loads.progress import Progress
    from llmbench.runs.profile import CaseProfile, Profile

EXAMPLES = """\
examples:
  llmbench profile scenarios/backends.yaml
  llmbench profile scenarios/backends.yaml --set 'backends=[eager, compiled]' --rows 1
  llmbench profile scenario.yaml --steps 50 --out results/why --json > why.json
  nsys profile -t cuda,nvtx llmbench profile scenario.yaml --nvtx   ranges around steps

Steps are timed without the profiler first and made again with it, in a fresh process for each case.
Their traces, in traces/, can be looked at with ui.perfetto.dev and chrome://tracing.

exit codes:
  0 every case was profiled   1 some case failed   2 bad input   130 interrupted, the rest is kept
"""
FOLLOWING = ("seconds", "ratio", "idle_seconds", "launches_per_step", "launches_per_token")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "profile",
        help="say what the time of a backend's steps goes to",
        description="Profile prefill and decode steps of every case: shares, launches, kernels.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", type=Path, help="a scenario file (YAML)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, repeatable"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps of each phase (20)")
    parser.add_argument(
        "--rows",
        type=int,
        help="sequences in a decode step (as many as slots and load let there be)",
    )
    parser.add_argument("--nvtx", action="store_true", help="mark steps for Nsight Systems")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="new results folder (results/NAME-profile-DATE)"
    )
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress, no tables")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Profile, report, and say by the exit code how it went."""
    from llmbench import report
    from llmbench.campaign.profile import passes
    from llmbench.runs import profile
    from llmbench.scenario import file as scenario_file

    source = scenario_file.load(arguments.scenario, arguments.set)
    folder = arguments.out or usual_folder(f"{source.scenario.name}-profile")
    asked = _asked(arguments)
    passes.begin(source, folder, asked)
    try:
        with _progress(arguments) as status:
            done = passes.profile_all(folder, source.cases, asked, _Told(status))
    except KeyboardInterrupt:
        done = profile.read(folder)
        print(
            f"\ninterrupted: {len(done.cases)} of {len(done.planned)} cases are kept in {folder}",
            file=sys.stderr,
        )
        raise
    report.write(done, folder / "report.html")
    _show(done, arguments)
    return _exit_code(done)


def _asked(arguments: argparse.Namespace) -> Asked:
    from llmbench.campaign.profile import passes
    from llmbench.errors import InputError

    if arguments.steps < 1:
        raise InputError(f"--steps {arguments.steps}: expected 1 or more")
    return passes.Asked(arguments.steps, arguments.rows, arguments.nvtx)


def _progress(arguments: argparse.Namespace) -> Status:
    from rich.console import Console

    seen = sys.stderr.isatty() and not arguments.quiet
    return Console(stderr=True, quiet=not seen).status("")


class _Told:
    """Shows what goes on in one line, and leaves a line for each case that ended."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._name = ""

    def began(self, case: str, index: int, total: int) -> None:
        """Name the case."""
        self._name = f"{case} ({index} of {total})"
        self.stage("starting")

    def stage(self, text: str) -> None:
        """Name what is done now."""
        from rich.markup import escape

        self._status.update(escape(f"{self._name}: {text}"))

    def progress(self, progress: Progress) -> None:
        """Show nothing: steps are many and short."""

    def ended(self, done: CaseProfile) -> None:
        """Leave a line for the case."""
        from rich.text import Text

        sign = ("failed", "red") if done.failure else ("done", "green")
        self._status.console.print(Text.assemble(sign, "  ", done.case))


def _show(done: Profile, arguments: argparse.Namespace) -> None:
    from llmbench import report

    page = done.folder / "report.html"
    if arguments.json:
        print(json.dumps({"folder": str(done.folder), "report": str(page), **told(done)}, indent=1))
    elif not arguments.quiet:
        report.show(done)
        print(f"\nresults  {done.folder}\nreport   {page}")


def told(done: Profile) -> dict[str, Any]:
    """Give every figure of a profile, and those that follow from them, as plain data."""
    cases = asdict(done)["cases"]
    for case, case_told in zip(done.cases, cases, strict=True):
        case_told["caveats"] = [caveat.in_full() for caveat in case.caveats]
        for phase, phase_told in zip(case.phases, case_told["phases"], strict=True):
            phase_told.update({name: getattr(phase, name) for name in FOLLOWING})
    return {"name": done.name, "planned": done.planned, "cases": cases}


def _exit_code(done: Profile) -> int:
    failures = [(case.case, case.failure) for case in done.cases if case.failure]
    for case, failure in failures:
        print(f"llmbench: {case} failed: {failure.message}", file=sys.stderr)
    bad_input = any(failure.kind == "bad-input" for _, failure in failures)
    return 2 if bad_input else int(bool(failures))
