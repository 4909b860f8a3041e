"""A client process: receive the target, report that it is ready, and serve a shard."""

from __future__ import annotations

import time
from dataclasses import replace

from llmbench.backends.endpoint.answer_log import AnswerLog
from llmbench.backends.endpoint.client_pool import END, READY, Job, Report, Work
from llmbench.backends.endpoint.measured_serve import serve
from llmbench.environment import child_process

PROGRESS_SECONDS = 0.2


def main() -> None:
    """Receive a job and a shard from the parent, serve the shard and send back the result."""
    parent = child_process.parent()
    job = parent.receive(Job)
    target = job.target()
    parent.send(READY)
    work = parent.receive(Work)
    dispatch = work.dispatch()
    last = 0.0

    def progress() -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            parent.send(Report(progress=dispatch.progress()))

    log = AnswerLog()
    served = serve(target, work.payload, dispatch, work.clock, progress, log=log)
    parent.send(Report(served=replace(served, answers=())))
    for chunk in log.chunks():
        parent.send_bytes(chunk)
    parent.send_bytes(END)


if __name__ == "__main__":
    main()
