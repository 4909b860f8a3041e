"""What every load is made of: a protocol, and schedules known before the clock starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.dispatch import Arrivals, Stop

__all__ = ["Load", "Scheduled", "offsets_until"]


class Load(Protocol):
    """A part that says when requests are due."""

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Arrivals:
        """Make the due times, a pure function of the options, the stop rule and the stream."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Arrivals of an open loop: all due times are known before the clock starts."""

    offsets: NDArray[np.float64]

    def at_start(self) -> NDArray[np.float64]:
        """List every due time."""
        return self.offsets

    def after_finish(self, now: float) -> None:  # noqa: ARG002 (an open loop does not look back)
        """Bring about nothing: an open loop ignores how the backend is doing."""
        return


def offsets_until(stop: Stop, gaps: Callable[[int], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Add up gaps between arrivals until the stop rule is met.

    ``gaps(k)`` draws the next k gaps in seconds. Returns ascending offsets in seconds.
    """
    drawn = gaps(stop.total if stop.total is not None else stop.warmup + 1)
    offsets = np.cumsum(drawn)
    if stop.duration is None or stop.warmup >= len(offsets):
        return offsets
    end = offsets[stop.warmup] + stop.duration
    while stop.requests is None and offsets[-1] < end:
        drawn = np.append(drawn, gaps(len(drawn) + 64))
        offsets = np.cumsum(drawn)
    within: NDArray[np.float64] = offsets[offsets < end]
    return within
