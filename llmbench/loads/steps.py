"""Rates that follow one another."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.schedule import Floats, Scheduled, Spacing, by_rate
from llmbench.loads.stopping import Stop
from llmbench.units import PerSecond, Seconds


class RateStep(plugins.Options):
    """A rate and how long it is held."""

    rate: PerSecond = Field(gt=0, description="requests per second")
    lasting: Seconds = Field(gt=0, description="how long it is held")


class Steps:
    """An open loop that holds one rate after the other; the load ends with the last of them."""

    class Options(plugins.Options):
        """``{kind: steps, steps: [{rate: 2/s, lasting: 30 s}, {rate: 8/s, lasting: 30 s}]}``."""

        steps: tuple[RateStep, ...] = Field(min_length=1, description="one after the other")
        spacing: Spacing = Field(default="poisson", description="of the arrivals")

    def __init__(self, options: Options) -> None:
        self.options = options

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Scheduled:
        """Place the whole schedule."""
        return Scheduled(by_rate(stop, self.options.spacing, draws, self._when))

    def _when(self, counts: Floats) -> Floats:
        lasting = np.array([step.lasting for step in self.options.steps])
        rates = np.array([step.rate for step in self.options.steps])
        ends, done = np.cumsum(lasting), np.cumsum(lasting * rates)
        when = np.interp(counts, np.r_[0.0, done], np.r_[0.0, ends])
        whole: Floats = np.where(counts < done[-1], when, np.inf)
        return whole
