"""Progress of a campaign on stderr: a live display, plain lines, or nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self, TextIO

from llmbench.analysis.metrics import METRICS, summarize
from llmbench.campaign.observer import SilentObserver
from llmbench.loads.progress import NOTHING_YET, Progress
from llmbench.report.table import show
from llmbench.runs.run import PlannedRun, Run
from llmbench.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console

    from llmbench.cli.screen import Screen
    from llmbench.runs.profile import CaseProfile

SILENT_SECONDS = 9.0  # without a line
MIN_WAIT_SECONDS = 0.5
SHOWN_METRICS = ("output_tokens_per_second", "ttft_p50", "itl_p50")


class Log:
    """Prints plain lines, and what is under way whenever nothing was printed for a while."""

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._now = now
        self._began = self._printed = now()
        self._name = self._stage = ""
        self._progress = NOTHING_YET
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def stage(self, text: str) -> None:
        """Remember the current stage."""
        self._stage = text

    def progress(self, progress: Progress) -> None:
        """Remember how many requests are complete."""
        self._progress = progress

    def heartbeat(self) -> float:
        """Print what is under way if it is due; return the seconds until the next one."""
        due = self._printed + SILENT_SECONDS - self._now()
        if due > 0 or not self._stage:
            return max(due, MIN_WAIT_SECONDS)
        completed, total = self._progress.completed, self._progress.total
        of = f" of {total:,}" if total else ""
        requests = f", {completed:,}{of} requests" if completed else ""
        elapsed = format_duration(self._now() - self._began)
        self._print(printable(f"{self._name}: {self._stage}{requests}, {elapsed} elapsed"))
        return SILENT_SECONDS

    def _watch(self) -> None:
        seconds = SILENT_SECONDS
        while not self._ended.wait(seconds):
            seconds = self.heartbeat()

    def _begin(self, name: str) -> None:
        self._began, self._name, self._stage = self._now(), name, "starting"
        self._progress = NOTHING_YET

    def _print(self, line: str) -> None:
        self._printed = self._now()
        self._out.write(f"{line}\n")  # in one piece: nodes of a fleet have threads of their own
        self._out.flush()


class Lines(Log):
    """Prints a line when a run begins and one when it ends, for pipes and logs."""

    _side = ""

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Print which run begins."""
        self._side = side
        self._begin(name(planned, side))
        of = f" of {total}" if total else ""
        self._print(f"run {index}{of}: {name(planned, side)}")

    def discarded(self, run: Run) -> None:
        """Print why the run is measured again."""
        self._progress = NOTHING_YET
        self._print(f"{name(run, self._side)}: {again(run)}")

    def ended(self, run: Run) -> None:
        """Print the run's duration, and its metrics or failure."""
        self._stage = ""
        self._print(f"{name(run, self._side)}: {ending(run, self._now() - self._began)}")


class CaseLines(Log):
    """Prints a line when the profile of a case begins and one when it ends, for pipes and logs."""

    def began(self, case: str, index: int, total: int) -> None:
        """Print which case is profiled."""
        self._begin(case)
        self._print(printable(f"case {index} of {total}: {case}"))

    def ended(self, done: CaseProfile) -> None:
        """Print how long the case took, and whether it failed."""
        sign = "failed after" if done.failure else "done in"
        self._print(f"{self._name}: {sign} {format_duration(self._now() - self._began)}")


class TrainingLines(Log):
    """Prints a line when a stage of a training begins, for pipes and logs."""

    def __init__(
        self, out: TextIO, name: str, steps: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(out, now)
        self._begin(name)
        self._steps = steps

    def stage(self, text: str) -> None:
        """Print which stage begins."""
        super().stage(text)
        self._print(printable(f"{self._name}: {text}"))

    def step(self, number: int, loss: float) -> None:
        """Remember the last step and its loss."""
        super().stage(f"training, step {number:,} of {self._steps:,}, loss {loss:.3f}")


def name(run: PlannedRun | Run, side: str = "") -> str:
    """Return a run's name for display: its side (if any), case and repeat."""
    before = f"{side}: " if side else ""
    return printable(f"{before}{run.case}, repeat {run.repeat}")


def again(run: Run) -> str:
    """Return a line about a run that is measured again: what disturbed this attempt."""
    return printable(f"measured again: {' '.join(c.message for c in run.contaminations)}")


def ending(run: Run, seconds: float) -> str:
    """Return a line about a finished run: its duration, and its metrics or failure."""
    if run.failure:
        message = run.failure.message.partition("\n")[0]
        return printable(f"failed after {format_duration(seconds)}: {message}")
    return ", ".join((f"done in {format_duration(seconds)}", *_figures(run)))


def _figures(run: Run) -> Iterator[str]:
    summary = summarize(run)
    for metric in SHOWN_METRICS:
        if (value := summary[metric].value) is not None:
            yield f"{METRICS[metric].label} {show(value, METRICS[metric].unit)}"


def printable(text: str) -> str:
    """Return a text with unprintable characters, which could affect the terminal, replaced."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def terminal() -> Console | None:
    """Return the console of stderr if it can show a live display, else None."""
    from rich.console import Console

    console = Console(stderr=True)
    is_live = sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal
    return console if is_live else None


def choose_observer(*, quiet: bool) -> Screen | Lines | SilentObserver:
    """Return the observer that shows progress on stderr: a live display only on a terminal."""
    if quiet:
        return SilentObserver()
    if (console := terminal()) is None:
        return Lines(sys.stderr)
    from llmbench.cli.screen import Screen
    from llmbench.collectors.live_usage import LiveUsage

    return Screen(console, LiveUsage())
