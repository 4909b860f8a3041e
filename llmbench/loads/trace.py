"""Arrivals as they were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.dispatch import Stop
from llmbench.errors import InputError
from llmbench.loads.schedule import Floats, Scheduled

__all__ = ["Trace"]


class Trace:
    """The arrival times of the workload's trace, as they were or sped up.

    Request i comes when row i of the trace came.
    """

    class Options(plugins.Options):
        """``{kind: trace, speed: 2}``, with a workload that knows times, such as trace."""

        speed: float = Field(default=1.0, gt=0, description="2 halves the time between arrivals")

    def __init__(self, options: Options) -> None:
        self.options = options

    def following(self, workload: Any) -> _Recorded:
        """Take the times of a workload; raises InputError when it has none."""
        if not hasattr(workload, "times"):
            raise InputError("load: trace needs a workload that knows times, such as trace")
        return _Recorded(workload.times() / self.options.speed)


@dataclass(frozen=True, slots=True)
class _Recorded:
    times: Floats

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> Scheduled:  # noqa: ARG002 (nothing is drawn)
        """Take as many of the times as the stop rule allows."""
        if stop.total is not None and stop.total > len(self.times):
            raise InputError(
                f"requests: {stop.total} were asked for, warm-up included, and the trace has "
                f"{len(self.times)}; ask for fewer, or give a `duration`"
            )
        offsets = self.times[: stop.total]
        if stop.duration is None or stop.warmup >= len(offsets):
            return Scheduled(offsets)
        return Scheduled(offsets[offsets < offsets[stop.warmup] + stop.duration])
