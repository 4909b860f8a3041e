"""The base class of loads, and schedules computed before the clock starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmbench import plugins
from llmbench.loads.dispatch import Arrivals, Dispatch
from llmbench.loads.stopping import Stop
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import Request
from llmbench.scenario.schema import Scenario
from llmbench.workloads.base import Workload

Floats = NDArray[np.float64]
Spacing = Annotated[
    Literal["constant", "poisson"],
    Field(description="equally spaced arrivals, or a Poisson process"),
]


class Load(plugins.Part):
    """A part that determines when requests are due."""

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Arrivals:
        """Return the due times: a pure function of options, stop rule and random stream."""
        raise NotImplementedError

    @property
    def concurrency(self) -> int | None:
        """The number of concurrent users of a closed loop, or None for an open loop."""
        return None

    def check(self) -> None:
        """Raise InputError when a file that the load reads cannot be read."""

    def caveats(self) -> tuple[Caveat, ...]:
        """Return reasons to doubt the due times, such as rows of a file that are left out."""
        return ()

    def following(self, workload: Workload) -> Load:  # noqa: ARG002 (few loads depend on it)
        """Return this load with the data that it needs from the workload, such as arrival times."""
        return self

    def dispatch(
        self,
        pool: Sequence[Request],  # noqa: ARG002 (most loads have due times)
        scenario: Scenario,  # noqa: ARG002
        logs: Path,  # noqa: ARG002
    ) -> Dispatch | None:
        """Return the load's own Dispatch of a pool of requests, or None to use `arrivals`.

        ``logs`` is a folder for the load's own logs.
        """
        return None


LOADS = plugins.Kind("load", Load)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Arrivals of an open loop: all due times are known before the clock starts."""

    offsets: Floats

    def at_start(self) -> Floats:
        """Return all due times, in seconds since the load began."""
        return self.offsets

    def after_finish(self, now: float) -> None:  # noqa: ARG002 (open loop)
        """Return None: an open loop does not wait for responses."""
        return

    def shard(self, index: int, count: int) -> Scheduled:
        """Return every count-th due time, starting at ``index``."""
        return Scheduled(self.offsets[index::count])


def offsets_until(
    stop: Stop,
    gaps: Callable[[int], Floats],
    time_of: Callable[[Floats], Floats] = lambda sums: sums,
) -> Floats:
    """Draw gaps until the stop rule is met and return ascending due times in seconds.

    ``gaps(k)`` draws the next k gaps; ``time_of`` maps their cumulative sums to seconds, or
    to infinity for arrivals that never come. Gaps are rounded to 1e-9, because the last bit of a
    logarithm differs between machines.
    """
    drawn = np.round(gaps(stop.total if stop.total is not None else stop.warmup + 64), 9)
    offsets = _finite(time_of(np.cumsum(drawn)))
    while (sent := stop.count(offsets)) is None and len(offsets) == len(drawn):
        drawn = np.append(drawn, np.round(gaps(len(drawn)), 9))
        offsets = _finite(time_of(np.cumsum(drawn)))
    return offsets[:sent]


def _finite(offsets: Floats) -> Floats:
    return offsets[np.isfinite(offsets)]


def exponential_gaps(count: int, rng: np.random.Generator) -> Floats:
    """Draw gaps between Poisson arrivals of rate 1, by inversion: −ln(1 − u)."""
    return -np.log1p(-rng.random(count))


def spaced(stop: Stop, time_of: Callable[[Floats], Floats]) -> Floats:
    """Return the due times ``time_of(i)`` of requests i = 0, 1, ... until the stop rule is met."""
    return offsets_until(stop, np.ones, lambda sums: time_of(sums - 1))


def by_rate(
    stop: Stop, spacing: Spacing, rng: np.random.Generator, time_of: Callable[[Floats], Floats]
) -> Floats:
    """Return the due times for a time-varying rate, until the stop rule is met.

    t[i] = N⁻¹(s[i])

    where N(t) is the integral of the rate from 0 to t, N⁻¹ is ``time_of``, and s[i] are i for
    constant spacing or the arrivals of a Poisson process of rate 1 (Çinlar, Introduction to
    Stochastic Processes, 1975).
    """
    if spacing == "poisson":
        return offsets_until(stop, lambda count: exponential_gaps(count, rng), time_of)
    return spaced(stop, time_of)
