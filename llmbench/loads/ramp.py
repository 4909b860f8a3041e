"""A rate that grows, or falls, steadily."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.schedule import Floats, Scheduled, Spacing, by_rate
from llmbench.loads.stopping import Stop
from llmbench.units import PerSecond, Seconds


class Ramp:
    """An open loop whose rate goes linearly from one to another, and stays there.

    After t seconds of the ramp, start·t + (end − start)·t² / 2·over requests have come.
    """

    class Options(plugins.Options):
        """``{kind: ramp, start: 1/s, end: 16/s, over: 60 s}``."""

        start: PerSecond = Field(ge=0, description="requests per second at first")
        end: PerSecond = Field(gt=0, description="requests per second at last")
        over: Seconds = Field(gt=0, description="time from one to the other")
        spacing: Spacing = Field(default="poisson", description="of the arrivals")

    def __init__(self, options: Options) -> None:
        self.options = options

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Scheduled:
        """Place the whole schedule."""
        return Scheduled(by_rate(stop, self.options.spacing, draws, self._when))

    def _when(self, counts: Floats) -> Floats:
        start, end, over = self.options.start, self.options.end, self.options.over
        slope, by_then = (end - start) / over, (start + end) / 2 * over
        within = np.minimum(counts, by_then)
        # the root of start·t + slope·t²/2 = count, in the form that is exact for a slope near 0
        root = np.sqrt(np.maximum(start * start + 2 * slope * within, 0.0))
        ramped = 2 * within / np.maximum(start + root, 1e-300)
        whole: Floats = np.where(counts <= by_then, ramped, over + (counts - by_then) / end)
        return whole
