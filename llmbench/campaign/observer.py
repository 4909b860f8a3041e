"""Observers, which receive the events of a campaign."""

from __future__ import annotations

from typing import Protocol, Self

from llmbench.loads.progress import Progress
from llmbench.runs.run import PlannedRun, Run


class Listener(Protocol):
    """Receives the events of a worker."""

    def stage(self, text: str) -> None:
        """Called when the worker begins a stage, such as "measuring"."""

    def progress(self, progress: Progress) -> None:
        """Called with each progress report of the load."""


class Observer(Listener, Protocol):
    """Receives the events of a campaign."""

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Called when a run begins, with its number among the remaining runs or its side's runs.

        Numbers start at 1; the total is None if it is not known in advance.
        """

    def discarded(self, run: Run) -> None:
        """Called when a contaminated attempt at a run is discarded, before the next attempt."""

    def ended(self, run: Run) -> None:
        """Called when a run, measured or failed, has been stored."""


class SilentObserver:
    """An observer that ignores all events, for --quiet and for use as a library."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """Ignore the event."""

    def stage(self, text: str) -> None:
        """Ignore the event."""

    def progress(self, progress: Progress) -> None:
        """Ignore the event."""

    def discarded(self, run: Run) -> None:
        """Ignore the event."""

    def ended(self, run: Run) -> None:
        """Ignore the event."""
