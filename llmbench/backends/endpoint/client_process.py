"""A client process: it gets its target, reports that it is ready, and serves a shard."""

from __future__ import annotations

import time

from llmbench.backends.endpoint.client_pool import READY, Done, Job, Report, Work
from llmbench.backends.endpoint.measured_serve import serve
from llmbench.environment import child_process

PROGRESS_SECONDS = 0.2


def main() -> None:
    """Serve one shard."""
    parent = child_process.parent()
    job = parent.receive(Job)
    target = job.target()
    parent.send(READY)
    work = parent.receive(Work)
    dispatch = work.dispatch()
    last = 0.0

    def progress(_: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            parent.send(Report(progress=dispatch.progress()))

    served = serve(target, job.payload, dispatch, work.clock, progress)
    parent.send(Report(done=Done.of(served)))


if __name__ == "__main__":
    main()
