"""A fixed number of users, each waiting for an answer before asking again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.stopping import Stop
from llmbench.units import Seconds


@dataclass(slots=True)
class _Users:
    concurrency: int
    mean_think_time: float
    draws: np.random.Generator

    def at_start(self) -> list[float]:
        return [0.0] * self.concurrency

    def after_finish(self, now: float) -> float:
        return now + self._think()

    def shard(self, index: int, count: int) -> _Users:
        """Give a client's share of the users, who think for times of their own."""
        users = len(range(index, self.concurrency, count))
        return _Users(users, self.mean_think_time, self.draws.spawn(count)[index])

    def _think(self) -> float:
        return -self.mean_think_time * float(np.log1p(-self.draws.random()))


class Closed:
    """A fixed number of users in a loop: ask, wait for the answer, think, ask again.

    Think times are exponential with the given mean. A slow backend slows a closed loop down, so
    it shows throughput at a concurrency and not what a stream of strangers would suffer.
    """

    class Options(plugins.Options):
        """``{kind: closed, concurrency: 4, think_time: 0 s}``."""

        concurrency: int = Field(default=1, ge=1, description="users at the same time")
        think_time: Seconds = Field(default=0.0, ge=0, description="mean pause between two asks")

    def __init__(self, options: Options) -> None:
        self.options = options

    def arrivals(self, stop: Stop, draws: np.random.Generator) -> _Users:  # noqa: ARG002 (answers decide)
        """Let every user ask at once, and again after each answer."""
        return _Users(self.options.concurrency, self.options.think_time, draws)
