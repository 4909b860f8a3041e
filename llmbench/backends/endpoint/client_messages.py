"""The messages between the process of a run and its client processes."""

from __future__ import annotations

import importlib
from typing import Any

import msgspec

from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.balancing import Upstream
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.measured_serve import Served
from llmbench.backends.endpoint.openai_types import Payload
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.environment import child_process
from llmbench.loads.abandonment import Abandonment
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Arrivals, Dispatch, Limit, RequestCycle, Shard
from llmbench.loads.progress import Progress
from llmbench.loads.stopping import Stop


class Job(msgspec.Struct, frozen=True):
    """The servers that a client process sends requests to: the first message to it."""

    options: dict[str, Any]
    addresses: tuple[Address, ...]
    others: tuple[Upstream, ...] = ()
    pinned: dict[str, int] = {}
    seed: int = 0

    @classmethod
    def of(cls, options: EndpointOptions, target: Target, clients: int) -> Job:
        """Return the job of one of the ``clients`` on its machine.

        It is without `server`, which a client must not start again.
        """
        # the options of a scenario also have `kind` and `name`
        fields = EndpointOptions.model_fields.keys() - {"server", "clients"}
        own = options.model_dump(mode="json", include=set(fields))
        own |= {"needs_done": target.needs_done, "clients": clients}
        servers, pinned = target.balance.servers, dict(target.balance.pinned)
        addresses = tuple(upstream.address for upstream in target.upstreams[:servers])
        others = target.upstreams[servers:]
        return cls(own, addresses, others, pinned, target.balance.seed)

    def target(self) -> Target:
        """Return the servers and connection settings that requests are sent with."""
        return self.endpoint.target(
            *self.addresses, others=self.others, pinned=self.pinned, seed=self.seed
        )

    @property
    def endpoint(self) -> EndpointOptions:
        """The options of the backend, on the machine of the client."""
        return EndpointOptions(**self.options)


class Ready(msgspec.Struct, frozen=True):
    """The first message from a client process.

    It has its pacing, and the least seconds to connect to each server; None: it cannot.
    """

    pacing: str
    round_trips: tuple[float | None, ...]


class Work(msgspec.Struct, frozen=True):
    """A message to a client process: its shard of the load, and what all shards have in common.

    ``arrivals_class`` is the module and name of the arrivals' class, which the process imports.
    Without a ``clock``, the load is a calibration: it is served at once, without a server.
    """

    requests: RequestCycle
    arrivals_class: tuple[str, str]
    arrivals: Any
    stop: Stop
    limit: Limit
    abandonment: Abandonment | None
    payload: Payload
    clock: MonotonicClock | None = None

    @classmethod
    def of(cls, shard: Shard, payload: Payload, clock: MonotonicClock | None = None) -> Work:
        """Return a shard in a form that can be sent to a client process."""
        kind = type(shard.arrivals)
        return cls(
            shard.requests,
            (kind.__module__, kind.__qualname__),
            shard.arrivals,
            shard.stop,
            shard.limit,
            shard.abandonment,
            payload,
            clock,
        )

    def dispatch(self) -> Dispatch:
        """Return a Dispatch that yields the shard's requests as they fall due."""
        module, name = self.arrivals_class
        kind = getattr(importlib.import_module(module), name)
        arrivals: Arrivals = child_process.converted(self.arrivals, kind)
        return Dispatch(self.requests, arrivals, self.stop, self.limit, self.abandonment)


class Report(msgspec.Struct, frozen=True):
    """A message from a client process: its progress, or its result after all of its answers.

    ``has_answers``: a chunk of its answer log follows.
    """

    progress: Progress | None = None
    has_answers: bool = False
    served: Served | None = None
