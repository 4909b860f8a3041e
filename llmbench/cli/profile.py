"""``llmbench profile``: where each backend's step time goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.cli import interrupts, options, output
from llmbench.errors import InputError

if TYPE_CHECKING:
    from rich.status import Status

    from llmbench.campaign.profile.passes import Observer, ProfileOptions
    from llmbench.loads.progress import Progress
    from llmbench.runs.profile import CaseProfile, Profile

HELP = "show where each backend's step time goes"
DESCRIPTION = "Profile prefill and decode steps of every case: time shares, launches and kernels."
EPILOG = """\
examples:
  llmbench profile backends
  llmbench profile backends --set 'backends=[eager, compiled]' --rows 1
  llmbench profile scenario.yaml --steps 50 --out results/why --json > why.json
  nsys profile -t cuda,nvtx llmbench profile scenario.yaml --nvtx   marks every step

Steps are timed without the profiler first, then repeated under it, in a fresh process per case.
Open the traces in traces/ with ui.perfetto.dev or chrome://tracing.

exit codes:
  0 every case was profiled   1 a case failed   2 bad input
  130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP (finished cases are kept)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scenario", type=Path, help=options.SCENARIO)
    folder, rows = "results/NAME-profile-DATE", "as many as slots and load allow"
    options.add_campaign(parser, "all numbers", folder, "hide progress and tables")
    parser.add_argument("--steps", type=int, default=20, help="steps per phase (default: 20)")
    parser.add_argument("--rows", type=int, help=f"sequences per decode step (default: {rows})")
    parser.add_argument("--nvtx", action="store_true", help="mark steps for Nsight Systems")


def run(arguments: argparse.Namespace) -> int:
    """Profile every case, write the report, and return the exit code."""
    from llmbench.campaign.profile import passes
    from llmbench.scenario import file as scenario_file

    source = scenario_file.load(arguments.scenario, arguments.set)
    folder = arguments.out or options.default_folder(f"{source.scenario.name}-profile")
    how = _profile_options(arguments)
    passes.begin(source, folder, how)
    with output.locked(folder), interrupts.explained(lambda: _what_is_kept(folder)):
        with _observer(quiet=arguments.quiet) as observer:
            done = passes.profile_all(folder, source, how, observer)
        page = output.write_report(done)
    output.print_result(done, page, arguments)
    return _exit_code(done)


def _what_is_kept(folder: Path) -> str:
    from llmbench.runs import profile
    from llmbench.runs.remote import address

    done = profile.read(folder)
    return f"{len(done.cases)} of {len(done.planned)} cases are kept in {address(folder)}"


def _profile_options(arguments: argparse.Namespace) -> ProfileOptions:
    from llmbench.campaign.profile import passes

    if arguments.steps < 1:
        raise InputError(f"--steps {arguments.steps}: must be at least 1")
    return passes.ProfileOptions(arguments.steps, arguments.rows, arguments.nvtx)


@contextmanager
def _observer(*, quiet: bool) -> Iterator[Observer]:
    """Show progress on stderr: on one line of a terminal, as plain lines elsewhere, or not."""
    from rich.console import Console

    from llmbench.cli.progress import CaseLines

    if sys.stderr.isatty() or quiet:
        with Console(stderr=True, quiet=quiet).status("") as status:
            yield _StatusLine(status)
    else:
        with CaseLines(sys.stderr) as lines:
            yield lines


class _StatusLine:
    """Shows the current case and stage on one line, and a line per finished case."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._name = ""

    def began(self, case: str, index: int, total: int) -> None:
        """Show which case is profiled."""
        self._name = f"{case} ({index} of {total})"
        self.stage("starting")

    def stage(self, text: str) -> None:
        """Show the current stage."""
        from rich.markup import escape

        self._status.update(escape(f"{self._name}: {text}"))

    def progress(self, progress: Progress) -> None:
        """Show nothing: steps are too short and numerous."""

    def ended(self, done: CaseProfile) -> None:
        """Print a line for the finished case."""
        from rich.text import Text

        sign = ("failed", "red") if done.failure else ("done", "green")
        self._status.console.print(Text.assemble(sign, "  ", done.case.name))


def _exit_code(done: Profile) -> int:
    failures = [(case.case.name, case.failure) for case in done.cases if case.failure]
    for case, failure in failures:
        print(f"llmbench: {case} failed: {failure.message}", file=sys.stderr)
    bad_input = any(failure.kind == "bad-input" for _, failure in failures)
    return 2 if bad_input else int(bool(failures))
