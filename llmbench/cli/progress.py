"""What is said of a campaign while it goes on, on stderr: a screen, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from llmbench.analysis.metrics import METRICS, summarize
from llmbench.campaign.observer import Silence
from llmbench.report.table import show
from llmbench.runs.run import Run
from llmbench.runs.store import PlannedRun
from llmbench.units import format_duration

if TYPE_CHECKING:
    from llmbench.cli.screen import Screen

TOLD = ("output_tokens_per_second", "ttft_p50", "itl_p50")


class Lines(Silence):
    """A plain line when a run begins and one when it ends: for pipes and logs."""

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._now = now
        self._began = now()
        self._side = ""

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Say which run begins."""
        self._began, self._side = self._now(), side
        of = f" of {total}" if total else ""
        self._say(f"run {index}{of}: {name(planned, side)}")

    def ended(self, run: Run) -> None:
        """Say how it went."""
        self._say(f"{name(run, self._side)}: {ending(run, self._now() - self._began)}")

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


def name(run: PlannedRun | Run, side: str = "") -> str:
    """Name a run in a line of a terminal, whatever is in the names of cases."""
    before = f"{side}: " if side else ""
    return _printable(f"{before}{run.case}, repeat {run.repeat}")


def ending(run: Run, seconds: float) -> str:
    """Say in a line how a run went."""
    if run.failure:
        told = (
            f"failed after {format_duration(seconds)}: {run.failure.message.partition(chr(10))[0]}"
        )
        return _printable(told)
    return ", ".join((f"done in {format_duration(seconds)}", *_figures(run)))


def _figures(run: Run) -> Iterator[str]:
    found = summarize(run)
    for metric in TOLD:
        if (value := found[metric].value) is not None:
            yield f"{METRICS[metric].label} {show(value, METRICS[metric].unit)}"


def _printable(text: str) -> str:
    """Keep names and messages from steering a terminal."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def shown(*, quiet: bool) -> Screen | Lines | Silence:
    """Choose how progress is shown: a screen only where one can be drawn."""
    if quiet:
        return Silence()
    from rich.console import Console

    console = Console(stderr=True)
    if not (sys.stderr.isatty() and console.is_terminal) or console.is_dumb_terminal:
        return Lines(sys.stderr)
    from llmbench.cli.screen import Screen
    from llmbench.collectors.live_usage import LiveUsage

    return Screen(console, LiveUsage())
