"""Requests that come many at a time."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.errors import InputError
from llmbench.loads.schedule import Scheduled, counted
from llmbench.loads.stopping import Stop
from llmbench.units import Seconds


class Burst:
    """All requests at once, or bursts of so many every so often; MLPerf calls the former offline.

    With all at once there is no window in which a rate could be steady; see the makespan.
    """

    class Options(plugins.Options):
        """``{kind: burst}`` or ``{kind: burst, size: 32, every: 10 s}``."""

        size: int | None = Field(default=None, ge=1, description="requests a burst; all if unset")
        every: Seconds | None = Field(default=None, gt=0, description="from burst to burst")

        @model_validator(mode="after")
        def _both_or_none(self) -> Burst.Options:
            if (self.size is None) != (self.every is None):
                raise ValueError("expected `size` and `every` together, or neither")
            return self

    def __init__(self, options: Options) -> None:
        self.options = options

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Scheduled:  # noqa: ARG002 (nothing is drawn)
        """Place request i in burst i // size."""
        size, every = self.options.size, self.options.every
        if size is None or every is None:
            return Scheduled(np.zeros(_all_of(stop)))
        return Scheduled(counted(stop, lambda numbers: numbers // size * every))


def _all_of(stop: Stop) -> int:
    if stop.total is None:
        raise InputError("load: burst sends all at once and needs `requests` to know how many")
    return stop.total
