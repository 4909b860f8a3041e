"""Live progress of a campaign, on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from llmbench.run import Run
from llmbench.store import PlannedRun

__all__ = ["Bars", "Silence", "shown"]


class Silence:
    """Shows nothing: for pipes and --quiet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def began(self, planned: PlannedRun, index: int, total: int) -> None:
        """Show nothing."""

    def stage(self, text: str) -> None:
        """Show nothing."""

    def progress(self, completed: int, total: int | None) -> None:
        """Show nothing."""

    def ended(self, run: Run) -> None:
        """Show nothing."""


class Bars:
    """Two bars, runs and the requests of the current run, and a line for each run that ended."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._runs: TaskID = self._progress.add_task("all runs", total=None, unit="runs")
        self._requests: TaskID = self._progress.add_task("", total=None, unit="requests")
        self._name = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def began(self, planned: PlannedRun, index: int, total: int) -> None:
        """Start the current run's bar anew."""
        self._name = f"{planned.case}, repeat {planned.repeat}"
        self._progress.update(self._runs, total=total, completed=index - 1)
        self._progress.reset(self._requests, description=self._name, total=None)

    def stage(self, text: str) -> None:
        """Name what the run does now."""
        self._progress.update(self._requests, description=f"{self._name}: {text}")

    def progress(self, completed: int, total: int | None) -> None:
        """Move the current run's bar."""
        self._progress.update(self._requests, completed=completed, total=total)

    def ended(self, run: Run) -> None:
        """Leave a line for the run."""
        self._progress.advance(self._runs)
        sign = "[red]failed[/]" if run.failure else "[green]done[/]"
        self._progress.console.print(f"{sign}  {run.case}, repeat {run.repeat}")


def shown(*, quiet: bool) -> Bars | Silence:
    """Choose how progress is shown: not at all where nobody looks."""
    return Silence() if quiet or not sys.stderr.isatty() else Bars()
