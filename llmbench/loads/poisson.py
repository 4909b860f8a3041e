"""Arrivals of many independent strangers."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.schedule import Floats, Scheduled, offsets_until
from llmbench.loads.stopping import Stop
from llmbench.units import PerSecond


class Poisson:
    """An open loop with exponential gaps: the arrivals of many independent users.

    Gaps are drawn by inversion, −ln(1 − u)/rate, from the seeded stream, before the clock starts.
    """

    class Options(plugins.Options):
        """``{kind: poisson, rate: 4/s}``."""

        rate: PerSecond = Field(gt=0, description="mean requests per second")

    def __init__(self, options: Options) -> None:
        self.options = options

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Scheduled:
        """Draw the whole schedule."""

        def gaps(count: int) -> Floats:
            return -np.log1p(-draws.random(count)) / self.options.rate

        return Scheduled(offsets_until(stop, gaps))
