"""The clock of a run, and a virtual clock for exact tests."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf
from threading import Event
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock, in seconds since an origin."""

    def now(self) -> float:
        """Return the time in seconds."""

    def sleep_until(self, moment: float) -> None:
        """Wait until the clock reads ``moment``; return immediately if that is in the past."""

    def wait_for(self, event: Event, moment: float) -> None:
        """Wait until another thread sets an event, at most until the clock reads ``moment``."""

    def unix_origin(self) -> float | None:
        """Return the Unix time of the origin, or None for a virtual clock.

        Use it only to join other logs, such as those of a wall meter, never for durations: the wall
        clock can be adjusted during a run.
        """


@dataclass(frozen=True, slots=True)
class MonotonicClock:
    """CLOCK_MONOTONIC in seconds since an origin; the same in all processes of a Linux machine."""

    origin: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        """Return the seconds since the origin."""
        return time.monotonic() - self.origin

    def sleep_until(self, moment: float) -> None:
        """Sleep until the clock reads ``moment``."""
        remaining = moment - self.now()
        if remaining > 0:
            time.sleep(remaining)

    def wait_for(self, event: Event, moment: float) -> None:
        """Wait for the event, at most until the clock reads ``moment``."""
        event.wait(None if moment == inf else max(0.0, moment - self.now()))

    def unix_origin(self) -> float:
        """Return the Unix time of the origin, from the current wall-clock time."""
        return time.time() - self.now()


@dataclass(slots=True)
class VirtualClock:
    """A clock for tests that advances only when told to, without waiting."""

    seconds: float = 0.0

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self.seconds

    def sleep_until(self, moment: float) -> None:
        """Jump to ``moment`` if that is in the future."""
        self.seconds = max(self.seconds, moment)

    def wait_for(self, event: Event, moment: float) -> None:
        """Jump to ``moment``, or wait for the event if there is none."""
        if moment == inf:
            event.wait()
        else:
            self.sleep_until(moment)

    def unix_origin(self) -> None:
        """Return None: virtual time has no Unix origin."""

    def advance(self, seconds: float) -> None:
        """Advance the virtual time by ``seconds``."""
        self.seconds += seconds
