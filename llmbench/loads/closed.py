"""A fixed number of users, each waiting for a response before sending the next request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Load
from llmbench.loads.stopping import Stop, shard_size
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import MAX_IN_FLIGHT
from llmbench.units import Seconds


@dataclass(slots=True)
class _Users:
    concurrency: int
    mean_think_time: float
    rng: np.random.Generator

    def at_start(self) -> list[float]:
        return [0.0] * self.concurrency

    def after_finish(self, now: float) -> float:
        if not self.mean_think_time:
            return now
        return now - self.mean_think_time * float(np.log1p(-self.rng.random()))

    def shard(self, index: int, count: int) -> _Users:
        """Return the users of one client, with a separate random stream of think times."""
        users = shard_size(self.concurrency, index, count)
        return _Users(users, self.mean_think_time, self.rng.spawn(count)[index])


class Closed(Load):
    """A fixed number of users in a loop: send, wait for the response, think, send again.

    t[next] = t[finished] − think_time · ln(1 − u)

    where t[next] is the due time of a user's next request and t[finished] the end of the previous
    one, both in seconds, think_time is the mean in seconds and u is uniform in [0, 1). A slow
    backend slows down a closed loop, which therefore measures throughput at a given concurrency,
    not the latency of independent users.
    """

    class Options(plugins.Options):
        """``{kind: closed, concurrency: 4, think_time: 0 s}``."""

        concurrency: int = Field(
            default=1, ge=1, le=MAX_IN_FLIGHT, description="number of concurrent users"
        )
        think_time: Seconds = Field(
            default=0.0, ge=0, description="mean pause between a response and the next request"
        )

    options: Options

    @property
    def concurrency(self) -> int:
        """The number of concurrent users."""
        return self.options.concurrency

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> _Users:  # noqa: ARG002 (responses decide)
        """Return arrivals: all users start immediately and continue after each response."""
        return _Users(self.options.concurrency, self.options.think_time, rng)


def one_after_another(requests: Sequence[Request], users: int = 1) -> Dispatch:
    """Return a dispatch in which each of some users sends a request, waits, and sends the next."""
    arrivals = Closed(Closed.Options(concurrency=users)).arrivals(Stop(), stream(0, "arrivals"))
    return Dispatch(requests, arrivals, Stop(requests=len(requests)))
