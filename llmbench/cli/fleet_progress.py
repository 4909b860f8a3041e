"""Progress of a fleet on stderr: a live display with a row per node, plain lines, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, TextIO

from llmbench.campaign.observer import Observer, SilentObserver
from llmbench.cli.progress import Lines, printable, terminal

if TYPE_CHECKING:
    from llmbench.cli.fleet_screen import FleetScreen

WAITING_SECONDS = 30.0  # between lines about runs that wait


class FleetLines:
    """Prints a line when a run begins and one when it ends; each names the node."""

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._now = now
        self._next_about_waiting = now()
        self._nodes = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._nodes.close()

    def on_node(self, name: str) -> Observer:
        """Return the observer of a node's runs, which begin their lines with its name."""
        del name  # runs begin with it
        return self._nodes.enter_context(Lines(self._out, self._now))

    def remark(self, text: str) -> None:
        """Print a message about the fleet."""
        print(printable(f"fleet: {text}"), file=self._out, flush=True)

    def waiting(self, messages: Sequence[str]) -> None:
        """Print messages about runs that wait, at most every WAITING_SECONDS."""
        if messages and self._now() >= self._next_about_waiting:
            self._next_about_waiting = self._now() + WAITING_SECONDS
            for message in messages:
                self.remark(message)


class SilentFleet(SilentObserver):
    """Ignores all events of a fleet."""

    def on_node(self, name: str) -> Observer:
        """Return an observer that ignores all events."""
        del name
        return self

    def remark(self, text: str) -> None:
        """Ignore the event."""

    def waiting(self, messages: Sequence[str]) -> None:
        """Ignore the event."""


def choose_fleet_observer(*, quiet: bool) -> FleetScreen | FleetLines | SilentFleet:
    """Return the observer that shows a fleet on stderr: a live display only on a terminal."""
    if quiet:
        return SilentFleet()
    if (console := terminal()) is None:
        return FleetLines(sys.stderr)
    from llmbench.cli.fleet_screen import FleetScreen

    return FleetScreen(console)
