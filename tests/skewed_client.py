"""A client process whose monotonic clock is ahead: ``python skewed_client.py SECONDS DRIFT``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from llmbench.backends.endpoint import client_process
from llmbench.backends.endpoint.client_hosts import Client, ClientHost
from llmbench.environment import child_process
from llmbench.environment.child_process import Child
from llmbench.fleet.clock_offsets import RemoteClock, RoundTrip

HERE = time.monotonic


@dataclass(frozen=True)
class Skew:
    """How far a clock is ahead, in seconds, and the seconds that it gains per second."""

    seconds: float
    drift: float = 0.0

    def reading(self, here: float) -> float:
        """Return what the clock reads when this machine's reads ``here``."""
        return here * (1 + self.drift) + self.seconds

    def round_trip(self) -> RoundTrip:
        """Read the clock over a network with equal delays both ways."""
        sent, received = HERE(), HERE()
        return RoundTrip(sent, self.reading((sent + received) / 2), received)


@dataclass(frozen=True)
class SkewedClient:
    """A client on a node with a skewed clock."""

    node: str
    channel: Child
    clock: RemoteClock

    def how_ended(self) -> str:
        """Return how the process ended."""
        return self.channel.how_ended()


class SkewedClients(ClientHost):
    """Starts a client for each of the skews that are its options."""

    options: Sequence[Skew]

    @contextmanager
    def started(self, module: str) -> Iterator[Sequence[Client]]:
        """Start this script instead of ``module``."""
        assert module == client_process.__name__
        with ExitStack() as stack:
            yield [
                SkewedClient(
                    f"node-{index}",
                    stack.enter_context(_process(skew)),
                    RemoteClock(skew.round_trip),
                )
                for index, skew in enumerate(self.options)
            ]


@contextmanager
def _process(skew: Skew) -> Iterator[Child]:
    command = [sys.executable, __file__, str(skew.seconds), str(skew.drift)]
    pipe = subprocess.PIPE
    with child_process.guarded(command, stdin=pipe, stdout=pipe) as process:
        yield Child(process)


def main() -> None:
    """Run the client with the skewed clock."""
    skew = Skew(*map(float, sys.argv[1:]))
    time.monotonic = lambda: skew.reading(HERE())
    client_process.main()


if __name__ == "__main__":
    main()
