"""Arrivals at equal distances."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.schedule import Scheduled, counted
from llmbench.loads.stopping import Stop
from llmbench.units import PerSecond


class Constant:
    """An open loop with one request every 1/rate seconds, the first at once."""

    class Options(plugins.Options):
        """``{kind: constant, rate: 4/s}``."""

        rate: PerSecond = Field(gt=0, description="requests per second")

    def __init__(self, options: Options) -> None:
        self.options = options

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Scheduled:  # noqa: ARG002 (nothing is drawn)
        """Place request i at i/rate, with no error adding up."""
        return Scheduled(counted(stop, lambda numbers: numbers / self.options.rate))
