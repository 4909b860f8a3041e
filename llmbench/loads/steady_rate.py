"""Open loops with a constant mean rate: equally spaced, Poisson and gamma arrivals."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.schedule import Floats, Load, Scheduled, exponential_gaps, offsets_until, spaced
from llmbench.loads.stopping import Stop
from llmbench.units import MAX_RATE, PerSecond


class Constant(Load):
    """An open loop with one request every 1/rate seconds, starting at 0.

    t[i] = i / rate

    where t[i] is the due time of request i = 0, 1, ... in seconds and rate is in 1/s. Each due time
    is computed from i, so that no error accumulates.
    """

    class Options(plugins.Options):
        """``{kind: constant, rate: 4/s}``."""

        rate: PerSecond = Field(gt=0, le=MAX_RATE, description="requests per second")

    options: Options

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Scheduled:  # noqa: ARG002 (nothing is drawn)
        """Return the due times of all requests, drawn or computed before the load begins."""
        return Scheduled(spaced(stop, lambda indices: indices / self.options.rate))


class Poisson(Load):
    """An open loop with exponential gaps: the arrivals of many independent users.

    t[i] − t[i − 1] = −ln(1 − u[i]) / rate

    where t[i] is the due time of request i in seconds, u[i] is uniform in [0, 1) from the seeded
    stream and rate is in 1/s. (Inversion: Devroye, Non-Uniform Random Variate Generation, 1986.)
    """

    class Options(plugins.Options):
        """``{kind: poisson, rate: 4/s}``."""

        rate: PerSecond = Field(gt=0, le=MAX_RATE, description="mean requests per second")

    options: Options

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Scheduled:
        """Return the due times of all requests, drawn or computed before the load begins."""
        return Scheduled(
            offsets_until(stop, lambda count: exponential_gaps(count, rng) / self.options.rate)
        )


class Gamma(Load):
    """An open loop with gamma-distributed gaps: burstier or more regular than Poisson.

    t[i] − t[i − 1] = g[i] / (k · rate),  g ~ Gamma(k, 1),  CV² = 1 / k

    where t[i] is the due time of request i in seconds, k is ``burstiness`` (1: Poisson, below 1:
    burstier, above 1: more regular), rate is the mean in 1/s and CV is the coefficient of variation
    of a gap. g is computed from uniform draws (Marsaglia and Tsang, A Simple Method for Generating
    Gamma Variables, 2000), so that a seed gives the same schedule in every numpy version.
    """

    class Options(plugins.Options):
        """``{kind: gamma, rate: 4/s, burstiness: 0.5}``."""

        rate: PerSecond = Field(gt=0, le=MAX_RATE, description="mean requests per second")
        burstiness: float = Field(
            default=1.0, gt=0, description="gamma shape parameter; 1: Poisson, below 1: burstier"
        )

    options: Options

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Scheduled:
        """Return the due times of all requests, drawn or computed before the load begins."""
        shape, rate = self.options.burstiness, self.options.rate

        def gaps(count: int) -> Floats:
            drawn = [_gamma(shape, rng) for _ in range(count)]
            return np.array(drawn, dtype=np.float64) / (shape * rate)

        return Scheduled(offsets_until(stop, gaps))


def _gamma(shape: float, rng: np.random.Generator) -> float:
    """Draw from the gamma distribution with this shape and scale 1."""
    if shape < 1:
        boost: float = (1 - rng.random()) ** (1 / shape)
        return _gamma(shape + 1, rng) * boost
    d = shape - 1 / 3
    while True:
        x, u = _normal(rng), 1 - rng.random()
        v = (1 + x / np.sqrt(9 * d)) ** 3
        if v > 0 and np.log(u) < x * x / 2 + d * (1 - v + np.log(v)):
            return float(d * v)


def _normal(rng: np.random.Generator) -> float:
    """Draw from the standard normal distribution (Box and Muller, 1958)."""
    radius = np.sqrt(-2 * np.log1p(-rng.random()))
    return float(radius * np.cos(2 * np.pi * rng.random()))
