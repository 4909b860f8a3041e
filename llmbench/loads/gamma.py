"""Arrivals that come more, or less, in bursts than strangers do."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.schedule import Floats, Scheduled, offsets_until
from llmbench.loads.stopping import Stop
from llmbench.units import PerSecond


class Gamma:
    """An open loop with gamma-distributed gaps: bursts of requests, or a steadier stream.

    ``burstiness`` is the shape of the gamma: 1 is Poisson, less comes in bursts, more is steadier;
    the squared coefficient of variation of a gap is 1 / burstiness. Gaps are drawn from uniform
    draws of the seeded stream (Marsaglia and Tsang, A Simple Method for Generating Gamma Variables,
    2000), so that equal seeds give equal schedules whatever the version of numpy.
    """

    class Options(plugins.Options):
        """``{kind: gamma, rate: 4/s, burstiness: 0.5}``."""

        rate: PerSecond = Field(gt=0, description="mean requests per second")
        burstiness: float = Field(default=1.0, gt=0, description="1 is Poisson; less is burstier")

    def __init__(self, options: Options) -> None:
        self.options = options

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Scheduled:
        """Draw the whole schedule."""
        shape, rate = self.options.burstiness, self.options.rate

        def gaps(count: int) -> Floats:
            drawn = [_gamma(shape, draws) for _ in range(count)]
            return np.array(drawn, dtype=np.float64) / (shape * rate)

        return Scheduled(offsets_until(stop, gaps))


def _gamma(shape: float, draws: np.random.Generator) -> float:
    """Draw from the gamma distribution of that shape and scale 1."""
    if shape < 1:
        boost: float = (1 - draws.random()) ** (1 / shape)
        return _gamma(shape + 1, draws) * boost
    d = shape - 1 / 3
    while True:
        x, u = _normal(draws), 1 - draws.random()
        v = (1 + x / np.sqrt(9 * d)) ** 3
        if v > 0 and np.log(u) < x * x / 2 + d * (1 - v + np.log(v)):
            return float(d * v)


def _normal(draws: np.random.Generator) -> float:
    """Draw from the standard normal distribution (Box and Muller, 1958)."""
    radius = np.sqrt(-2 * np.log1p(-draws.random()))
    return float(radius * np.cos(2 * np.pi * draws.random()))
