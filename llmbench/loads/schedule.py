"""What every load is made of: a protocol, and schedules known before the clock starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench.loads.dispatch import Arrivals
from llmbench.loads.stopping import Stop

Floats = NDArray[np.float64]
Spacing = Literal["constant", "poisson"]


class Load(Protocol):
    """A part that says when requests are due."""

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Arrivals:
        """Make the due times, a pure function of the options, the stop rule and the stream."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Arrivals of an open loop: all due times are known before the clock starts."""

    offsets: Floats

    def at_start(self) -> Floats:
        """List every due time."""
        return self.offsets

    def after_finish(self, now: float) -> None:  # noqa: ARG002 (an open loop does not look back)
        """Bring about nothing: an open loop ignores how the backend is doing."""
        return

    def shard(self, index: int, count: int) -> Scheduled:
        """Give every count-th due time from ``index`` on."""
        return Scheduled(self.offsets[index::count])


def offsets_until(
    stop: Stop,
    gaps: Callable[[int], Floats],
    when: Callable[[Floats], Floats] = lambda sums: sums,
) -> Floats:
    """Add up gaps between arrivals until the stop rule is met.

    ``gaps(k)`` draws the next k gaps, ``when`` turns their sums into seconds (as they are, by
    default); a sum whose time never comes is infinity. Returns ascending offsets in seconds.
    """
    drawn = _rounded(gaps(stop.total if stop.total is not None else stop.warmup + 64))
    offsets = _finite(when(np.cumsum(drawn)))
    while (sent := stop.count(offsets)) is None and len(offsets) == len(drawn):
        drawn = np.append(drawn, _rounded(gaps(len(drawn))))
        offsets = _finite(when(np.cumsum(drawn)))
    return offsets[:sent]


def counted(stop: Stop, when: Callable[[Floats], Floats]) -> Floats:
    """Place arrivals at ``when(n)`` for n = 0, 1, ... until the stop rule is met."""
    return offsets_until(stop, np.ones, lambda sums: when(sums - 1))


def _rounded(gaps: Floats) -> Floats:
    """Round to 1e-9, so that a logarithm's last bit, which machines differ in, shifts nothing."""
    return np.round(gaps, 9)


def _finite(offsets: Floats) -> Floats:
    return offsets[np.isfinite(offsets)]


def by_rate(
    stop: Stop, spacing: Spacing, draws: np.random.Generator, when: Callable[[Floats], Floats]
) -> Floats:
    """Place arrivals of a rate that changes with time, until the stop rule is met.

    ``when(n)`` tells when n arrivals are expected to have come: the inverse of the rate's integral.
    Poisson arrivals are those of rate 1 seen through it (Çinlar, Introduction to Stochastic
    Processes, 1975). Returns ascending offsets in seconds.
    """
    if spacing == "poisson":
        return offsets_until(stop, lambda k: -np.log1p(-draws.random(k)), when)
    return counted(stop, when)
