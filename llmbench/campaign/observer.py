"""Who is told how a campaign goes."""

from __future__ import annotations

from typing import Protocol, Self

from llmbench.loads.progress import Progress
from llmbench.runs.run import Run
from llmbench.runs.run_set import PlannedRun


class Listener(Protocol):
    """Receives what a worker reports."""

    def stage(self, text: str) -> None:
        """The worker has begun another stage."""

    def progress(self, progress: Progress) -> None:
        """The load has come so far."""


class Observer(Listener, Protocol):
    """Receives what happens in a campaign."""

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """A run begins: the index-th (from 1) of all that are still to be done, or of a side.

        The total is None where it turns out only as runs are measured.
        """

    def ended(self, run: Run) -> None:
        """A run has been stored, measured or failed."""


class Silence:
    """An observer that shows nothing: for --quiet, and for programs that measure."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Show nothing."""

    def stage(self, text: str) -> None:
        """Show nothing."""

    def progress(self, progress: Progress) -> None:
        """Show nothing."""

    def ended(self, run: Run) -> None:
        """Show nothing."""
