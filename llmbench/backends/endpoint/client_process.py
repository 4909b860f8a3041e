"""A client in a process of its own: ``python -m ...client_process FD``, told over a pipe.

It gets its target, says that it is ready, gets its shard of the load and the clock, and hands back
what was seen.
"""

from __future__ import annotations

import sys
import time
from multiprocessing.connection import Connection

from llmbench.backends.endpoint.client_pool import READY
from llmbench.backends.endpoint.measured_serve import serve
from llmbench.backends.endpoint.options import EndpointOptions

PROGRESS_SECONDS = 0.2


def main() -> None:
    """Serve one shard."""
    pipe: Connection = Connection(int(sys.argv[1]))
    plain, address, payload = pipe.recv()
    target = EndpointOptions(**plain).target(*address)
    pipe.send(READY)
    dispatch, clock = pipe.recv()
    last = 0.0

    def progress(_: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            pipe.send(dispatch.progress())

    pipe.send(serve(target, payload, dispatch, clock, progress))


if __name__ == "__main__":
    main()
