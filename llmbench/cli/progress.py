"""Progress of a campaign on stderr: a live display, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from llmbench.analysis.metrics import METRICS, summarize
from llmbench.campaign.observer import SilentObserver
from llmbench.report.table import show
from llmbench.runs.run import PlannedRun, Run
from llmbench.units import format_duration

if TYPE_CHECKING:
    from llmbench.cli.screen import Screen

SHOWN_METRICS = ("output_tokens_per_second", "ttft_p50", "itl_p50")


class Lines(SilentObserver):
    """Prints one plain line when a run begins and one when it ends, for pipes and logs."""

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._now = now
        self._began = now()
        self._side = ""

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Print which run begins."""
        self._began, self._side = self._now(), side
        of = f" of {total}" if total else ""
        self._print(f"run {index}{of}: {name(planned, side)}")

    def discarded(self, run: Run) -> None:
        """Print why the run is measured again."""
        self._print(f"{name(run, self._side)}: {again(run)}")

    def ended(self, run: Run) -> None:
        """Print the run's duration, and its metrics or failure."""
        self._print(f"{name(run, self._side)}: {ending(run, self._now() - self._began)}")

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def name(run: PlannedRun | Run, side: str = "") -> str:
    """Return a run's name for display: its side (if any), case and repeat."""
    before = f"{side}: " if side else ""
    return _printable(f"{before}{run.case}, repeat {run.repeat}")


def again(run: Run) -> str:
    """Return a line about a run that is measured again: what disturbed this attempt."""
    return _printable(f"measured again: {' '.join(c.message for c in run.contaminations)}")


def ending(run: Run, seconds: float) -> str:
    """Return a line about a finished run: its duration, and its metrics or failure."""
    if run.failure:
        message = run.failure.message.partition("\n")[0]
        return _printable(f"failed after {format_duration(seconds)}: {message}")
    return ", ".join((f"done in {format_duration(seconds)}", *_figures(run)))


def _figures(run: Run) -> Iterator[str]:
    summary = summarize(run)
    for metric in SHOWN_METRICS:
        if (value := summary[metric].value) is not None:
            yield f"{METRICS[metric].label} {show(value, METRICS[metric].unit)}"


def _printable(text: str) -> str:
    """Replace unprintable characters, since control sequences could affect the terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def choose_observer(*, quiet: bool) -> Screen | Lines | SilentObserver:
    """Return the observer that shows progress on stderr: a live display only on a terminal."""
    if quiet:
        return SilentObserver()
    from rich.console import Console

    console = Console(stderr=True)
    if not (sys.stderr.isatty() and console.is_terminal) or console.is_dumb_terminal:
        return Lines(sys.stderr)
    from llmbench.cli.screen import Screen
    from llmbench.collectors.live_usage import LiveUsage

    return Screen(console, LiveUsage())
