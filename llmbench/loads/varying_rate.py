"""Open loops whose rate changes with time: bursts, ramps and steps."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.errors import InputError
from llmbench.loads.schedule import Floats, Load, Scheduled, Spacing, by_rate, spaced
from llmbench.loads.stopping import Stop
from llmbench.scenario.schema import MAX_REQUESTS
from llmbench.units import MAX_RATE, PerSecond, Seconds


class Burst(Load):
    """All requests at once, or bursts of a fixed size at a fixed interval.

    t[i] = every · ⌊i / size⌋

    where t[i] is the due time of request i in seconds and every is the interval in seconds. Without
    ``size`` all are due at 0, as in MLPerf's offline scenario; no rate is steady then, so compare
    the makespan.
    """

    class Options(plugins.Options):
        """``{kind: burst}`` or ``{kind: burst, size: 32, every: 10 s}``."""

        size: int | None = Field(
            default=None,
            ge=1,
            le=MAX_REQUESTS,
            description="requests per burst; if unset, all in one burst",
        )
        every: Seconds | None = Field(default=None, gt=0, description="interval between bursts")

        @model_validator(mode="after")
        def _both_or_none(self) -> Burst.Options:
            if (self.size is None) != (self.every is None):
                raise ValueError("expected `size` and `every` together, or neither")
            return self

    options: Options

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Scheduled:  # noqa: ARG002 (nothing is drawn)
        """Return the due times of all requests, drawn or computed before the load begins."""
        size, every = self.options.size, self.options.every
        if size is not None and every is not None:
            return Scheduled(spaced(stop, lambda indices: indices // size * every))
        if stop.total is None:
            raise InputError("load: a burst without `size` needs a fixed number; set `requests`")
        return Scheduled(np.zeros(stop.total))


class Ramp(Load):
    """An open loop whose rate changes linearly from ``start`` to ``end`` and stays there.

    N(t) = start · t + (end − start) · t² / (2 · over)  for t ≤ over, and N′(t) = end afterwards

    where N(t) is the expected number of requests after t seconds, start and end are rates in 1/s
    and over is the length of the ramp in seconds. Due times are the inverse of N; see
    ``schedule.by_rate``.
    """

    class Options(plugins.Options):
        """``{kind: ramp, start: 1/s, end: 16/s, over: 60 s}``."""

        start: PerSecond = Field(
            ge=0, le=MAX_RATE, description="initial rate, in requests per second"
        )
        end: PerSecond = Field(gt=0, le=MAX_RATE, description="final rate, in requests per second")
        over: Seconds = Field(gt=0, description="duration of the ramp")
        spacing: Spacing = "poisson"

    options: Options

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Scheduled:
        """Return the due times of all requests, drawn or computed before the load begins."""
        return Scheduled(by_rate(stop, self.options.spacing, rng, self._time_of))

    def _time_of(self, counts: Floats) -> Floats:
        start, end, over = self.options.start, self.options.end, self.options.over
        slope, ramp_count = (end - start) / over, (start + end) / 2 * over
        within = np.minimum(counts, ramp_count)
        # the root of start·t + slope·t²/2 = count, in the form that is exact for a slope near 0
        root = np.sqrt(np.maximum(start * start + 2 * slope * within, 0.0))
        ramped = 2 * within / np.maximum(start + root, 1e-300)
        times: Floats = np.where(counts <= ramp_count, ramped, over + (counts - ramp_count) / end)
        return times


class RateStep(plugins.Options):
    """A rate and its duration."""

    rate: PerSecond = Field(gt=0, le=MAX_RATE, description="requests per second")
    lasting: Seconds = Field(gt=0, description="how long the rate applies")


class Steps(Load):
    """An open loop with a sequence of constant rates; the load ends after the last step.

    N(t) = Σ rate[j] · min(lasting[j], max(0, t − begin[j]))

    where N(t) is the expected number of requests after t seconds, rate[j] in 1/s applies for
    lasting[j] seconds and begin[j] is the sum of lasting before step j. Due times are the inverse
    of N; see ``schedule.by_rate``.
    """

    class Options(plugins.Options):
        """``{kind: steps, steps: [{rate: 2/s, lasting: 30 s}, {rate: 8/s, lasting: 30 s}]}``."""

        steps: tuple[RateStep, ...] = Field(
            min_length=1, description="successive rates with their durations"
        )
        spacing: Spacing = "poisson"

    options: Options

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Scheduled:
        """Return the due times of all requests, drawn or computed before the load begins."""
        return Scheduled(by_rate(stop, self.options.spacing, rng, self._time_of))

    def _time_of(self, counts: Floats) -> Floats:
        lasting = np.array([step.lasting for step in self.options.steps])
        rates = np.array([step.rate for step in self.options.steps])
        ends, totals = np.cumsum(lasting), np.cumsum(lasting * rates)
        interpolated = np.interp(counts, np.r_[0.0, totals], np.r_[0.0, ends])
        times: Floats = np.where(counts < totals[-1], interpolated, np.inf)
        return times
