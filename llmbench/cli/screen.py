"""The screen of a campaign in progress, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmbench.cli.live import RATE_SECONDS, Figures, Pace, Reservoir
from llmbench.cli.progress import ending, name
from llmbench.loads.progress import Progress
from llmbench.runs.run import Run
from llmbench.runs.store import PlannedRun
from llmbench.units import format_number

REDRAWS_PER_SECOND = 1  # each takes milliseconds of a processor that others measure on
BAR_WIDTH, LABEL_WIDTH, MARGIN = 24, 32, 3  # the margin is for the ^C of an interrupt
SILENT_SECONDS = 5.0


class Screen:
    """Bars for all runs and for the requests of this one, figures so far, and the machine.

    ``machine`` says in words how busy it is. A line for each run that ended stays; the rest is
    gone in the end.
    """

    def __init__(
        self, console: Console, machine: object, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._machine = machine
        self._now = now
        self._began = self._heard = now()
        self._pace = Pace()
        self._figures = Figures()
        self._name = self._stage = self._side = ""
        self._index = 1
        self._total: int | None = None
        self._live = Live(
            get_renderable=self.view,
            console=console,
            refresh_per_second=REDRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Begin a run's figures anew."""
        self._heard = self._now()
        self._name, self._stage, self._side = name(planned, side), "", side
        self._index, self._total = index, total
        self._figures = Figures()
        self._pace.begin(self._heard, None if total is None else total - index)

    def stage(self, text: str) -> None:
        """Name what the run does now."""
        self._heard = self._now()
        self._stage = text
        if text == "measuring":
            self._pace.measuring = self._heard

    def progress(self, progress: Progress) -> None:
        """Take in how far the run is."""
        self._heard = self._now()
        self._figures.add(progress)

    def ended(self, run: Run) -> None:
        """Leave a line for the run."""
        self._pace.end(self._now(), well=not run.failure)
        told = f"{name(run, self._side)}: {ending(run, self._now() - self._pace.began)}"
        self._console.print(Text(told, "red" if run.failure else ""))

    # -- what is shown -----------------------------------------------------------------------------

    def view(self) -> Table:
        """Lay out all that is known now."""
        width, progress = self._console.width, self._figures.progress
        label = min(LABEL_WIDTH, width // 3, max(len("all runs"), cell_len(self._name)))
        bar = min(BAR_WIDTH, width // 4)
        shown = Table.grid(padding=(0, 2))
        shown.add_column(no_wrap=True, width=label, overflow="ellipsis")
        shown.add_column(no_wrap=True, max_width=width - label - MARGIN - 2, overflow="ellipsis")
        shown.add_row("all runs", _bar(bar, self._index - 1, self._total, self._runs()))
        shown.add_row(
            Text(self._name), _bar(bar, progress.completed, progress.total, self._requests())
        )
        for row, told in self._told().items():
            shown.add_row(Text(row, "dim"), Text(told))
        return shown

    def _runs(self) -> str:
        now, of = self._now(), f" of {self._total}" if self._total else ""
        remaining = self._pace.remaining(now, self._figures.progress)
        eta = "" if remaining is None else f", ETA {_clock(remaining)}"
        return f"{self._index - 1}{of}{eta}, {_clock(now - self._began)} gone"

    def _requests(self) -> str:
        progress, silent = self._figures.progress, self._now() - self._heard
        if not progress.completed:
            return self._stage
        of = f" of {progress.total:,}" if progress.total else ""
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        silence = f", silent for {silent:.0f} s" if silent >= SILENT_SECONDS else ""
        return f"{progress.completed:,}{of} requests{failed}{silence}, {self._stage}"

    def _told(self) -> dict[str, str]:
        figures = self._figures
        rate = figures.output_tokens_per_second
        late = f"tokens/s (answers of the last {RATE_SECONDS:.0f} s)"
        return {
            "output": "—" if rate is None else f"{format_number(rate)} {late}",
            "TTFT": _percentiles(figures.ttft, "request"),
            "ITL": _percentiles(figures.itl, "gap"),
            "machine": str(self._machine) or "—",
        }


def _bar(width: int, completed: int, total: int | None, told: str) -> Text:
    filled = round(width * min(1.0, completed / total)) if total else 0
    return Text.assemble(("━" * filled, "green"), ("─" * (width - filled), "dim"), "  ", told)


def _percentiles(found: Reservoir, what: str) -> str:
    return f"{found} (of {found.seen:,} {what}{'s' * (found.seen != 1)})" if found.seen else "—"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
