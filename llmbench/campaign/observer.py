"""Observers of a campaign's progress."""

from __future__ import annotations

from typing import Protocol, Self

from llmbench.loads.progress import Progress
from llmbench.runs.run import Run
from llmbench.runs.run_set import PlannedRun


class Listener(Protocol):
    """Receives the events of a worker."""

    def stage(self, text: str) -> None:
        """The worker has begun another stage."""

    def progress(self, progress: Progress) -> None:
        """The load has progressed."""


class Observer(Listener, Protocol):
    """Receives the events of a campaign."""

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """A run begins: number ``index``, from 1, of the remaining runs or of one side's runs.

        The total is None if it is not known in advance.
        """

    def ended(self, run: Run) -> None:
        """A run has been stored, whether measured or failed."""


class SilentObserver:
    """An observer that shows nothing: for --quiet, and for programmatic use."""

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
