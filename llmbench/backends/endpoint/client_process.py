"""A client process: receive the target, report that it is ready, and serve shards of loads.

Answers are sent during the load, so that few are lost with a client.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from llmbench.backends.endpoint import loopback
from llmbench.backends.endpoint.addresses import round_trip
from llmbench.backends.endpoint.answer_log import AnswerLog
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.client_messages import Job, Ready, Report, Work
from llmbench.backends.endpoint.measured_serve import serve
from llmbench.environment import child_process
from llmbench.environment.child_process import Channel
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.progress import Progress

PROGRESS_SECONDS = 0.2


class SentLog(AnswerLog):
    """An answer log whose chunks go to the parent process, in the log's thread."""

    def __init__(self, parent: Channel) -> None:
        super().__init__()
        self._parent = parent

    def extend(self, chunk: bytes) -> None:
        """Send a chunk of rows."""
        self._parent.send(Report(has_answers=True))
        self._parent.send_bytes(chunk)

    def report(self, progress: Progress) -> None:
        """Send all rows so far, and the progress."""
        self.flush()
        self._writes.append(self._writer.submit(self._parent.send, Report(progress=progress)))

    def close(self) -> None:
        """Send the last rows, and wait until all are sent."""
        self.flush()
        super().close()


def main() -> None:
    """Receive a job and shards from the parent, serve each shard and send back the result."""
    parent = child_process.parent()
    job = parent.receive(Job)
    target = job.target()
    trips = (round_trip(upstream.address) for upstream in target.upstreams)
    parent.send(Ready(job.endpoint.effective_pacing, tuple(trips)))
    for work in _received(parent):
        if work.clock is None:
            _calibrate(parent, target, work)
        else:
            _serve(parent, target, work, work.clock)


def _received(parent: Channel) -> Iterator[Work]:
    """Yield the loads until the parent ends."""
    while True:
        try:
            work = parent.receive(Work)
        except EOFError:
            return
        yield work


def _calibrate(parent: Channel, target: Target, work: Work) -> None:
    clock, dispatch = MonotonicClock(), work.dispatch()
    served = serve(target, work.payload, dispatch, clock, connect=loopback.connect)
    parent.send(Report(served=replace(served, answers=())))


def _serve(parent: Channel, target: Target, work: Work, clock: MonotonicClock) -> None:
    dispatch, log = work.dispatch(), SentLog(parent)
    last = 0.0

    def progress() -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            log.report(dispatch.progress())

    served = serve(target, work.payload, dispatch, clock, progress, log=log)
    parent.send(Report(dispatch.progress(), served=replace(served, answers=())))


if __name__ == "__main__":
    main()
