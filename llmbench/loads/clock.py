"""The one clock of a run, and a virtual one that makes tests exact."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """Seconds since an origin, never going back."""

    def now(self) -> float:
        """Read the clock, in seconds."""

    def sleep_until(self, moment: float) -> None:
        """Wait until the clock reads ``moment`` (at once where that is past)."""

    def unix_origin(self) -> float | None:
        """Tell when it read 0, in seconds since 1970; None where it keeps no real time.

        Only to join what others logged meanwhile, such as a wall meter: the time of day may be set
        forward or back, so no duration is ever taken from it.
        """


@dataclass(frozen=True, slots=True)
class MonotonicClock:
    """CLOCK_MONOTONIC less an origin: one clock for all processes of one Linux machine."""

    origin: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        """Read the clock, in seconds since the origin."""
        return time.monotonic() - self.origin

    def sleep_until(self, moment: float) -> None:
        """Wait until the clock reads ``moment``, giving the processor away meanwhile."""
        remaining = moment - self.now()
        if remaining > 0:
            time.sleep(remaining)

    def unix_origin(self) -> float:
        """Tell when it read 0, in seconds since 1970, by the time of day as it is set now."""
        return time.time() - self.now()


@dataclass(slots=True)
class VirtualClock:
    """A clock that moves only when told to."""

    seconds: float = 0.0

    def now(self) -> float:
        """Read the clock, in virtual seconds."""
        return self.seconds

    def sleep_until(self, moment: float) -> None:
        """Jump to ``moment`` where that lies ahead."""
        self.seconds = max(self.seconds, moment)

    def unix_origin(self) -> None:
        """Give no time: it moves as told to."""

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.seconds += seconds
