"""Which of several servers, or replicas of a local backend, gets a request.

A choice depends only on the request, on what is in flight and on a seed, so that it is the same in
every process that sends a part of a load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from llmbench.runs.request import Request
from llmbench.scenario.replicas import Policy

BLOCK_TOKENS = 16  # of a prompt; the size of a block in vLLM's prefix cache
# affinity holds below this load relative to the mean, and for a few requests, which share steps
BOUND, FEW = 1.25, 4


class Choice(NamedTuple):
    """A choice among the ``available`` servers, by their indexes, ascending.

    ``loads`` has the number of requests in flight on each server, available or not.
    """

    request: Request
    loads: Sequence[int]
    available: Sequence[int]
    seed: int = 0

    def by(self, policy: Policy) -> int:
        """Return the server that a policy chooses."""
        return POLICIES[policy](self)

    def in_turn(self) -> int:
        """Return server k mod m of m for request number k; if it is not available, others in turn.

        The requests of an unavailable server are spread evenly over the others.
        """
        turn, first = divmod(self.request.id, len(self.loads))
        return first if first in self.available else self.available[turn % len(self.available)]

    def least_loaded(self) -> int:
        """Return the server with the fewest requests in flight; of several, the next in turn."""
        number, count = self.request.id, len(self.loads)
        if len(self.available) == count:  # the same, much faster for many
            turn, least = number % count, min(self.loads)
            later = self.loads[turn:]
            return turn + later.index(least) if least in later else self.loads.index(least)
        return min(self.available, key=lambda s: (self.loads[s], (s - number) % count))

    def of_two(self) -> int:
        """Return the less loaded of two servers drawn at random, or the first of equals.

        Source: Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE
        Transactions on Parallel and Distributed Systems 12 (10), 2001.
        """
        count = len(self.available)
        if count == 1:
            return self.available[0]
        first, step = divmod(_hash(self.seed, self.request.id) % (count * (count - 1)), count - 1)
        second = (first + 1 + step) % count
        return min(self.available[first], self.available[second], key=self.loads.__getitem__)

    def by_affinity(self) -> int:
        """Return the first server in the key's order that is not loaded beyond the bound.

        The order is that of the hashes of key and server (rendezvous hashing), so that a server
        that is lost moves only its own keys, each to the next in its order. A server has at most
        max(4, ⌈c (m + 1) / n⌉) requests, where m are in flight on n servers and c = 1.25.

        Sources: Thaler, Ravishankar, Using Name-Based Mappings to Increase Hit Rates, IEEE/ACM
        Transactions on Networking 6 (1), 1998; Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing
        with Bounded Loads, SODA 2018.
        """
        key = _hash(*affinity_key(self.request))
        in_flight = sum(self.loads[server] for server in self.available)
        bound = max(FEW, math.ceil(BOUND * (in_flight + 1) / len(self.available)))
        free = [server for server in self.available if self.loads[server] < bound]
        return max(free, key=lambda server: _hash(key, server))


POLICIES: dict[Policy, Callable[[Choice], int]] = {
    "round-robin": Choice.in_turn,
    "least-loaded": Choice.least_loaded,
    "two-choices": Choice.of_two,
    "affinity": Choice.by_affinity,
}


def affinity_key(request: Request) -> tuple[object, ...]:
    """Return what keeps requests on one server: the session, else the begin of the prompt.

    That is the prefix which the workload shares between requests, or else the first block.
    """
    if request.session is not None:
        return "session", request.session
    return "prefix", request.prompt[: request.shared or BLOCK_TOKENS]


def _hash(*key: object) -> int:
    """Return 64 bits that are the same in every process, unlike those of `hash`."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())
