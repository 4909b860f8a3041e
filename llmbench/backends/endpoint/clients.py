"""Several client processes on one load: each has a stripe of it, and all have one clock."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from llmbench.backends.endpoint.client import Payloads
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.backends.endpoint.serving import Served, merged, serve
from llmbench.clock import Clock
from llmbench.dispatch import Dispatch
from llmbench.errors import MeasurementError

__all__ = ["Clients", "started"]

READY = "ready"
START_SECONDS = 60.0
PROGRESS_SECONDS = 0.2


class Clients:
    """Processes that wait for their part of a load."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def serve(self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[int], None]) -> Served:
        """Hand each client its stripe and wait for all of them.

        The clock should begin a little later, so that all have theirs when the first is due.
        Raises MeasurementError when a client dies.
        """
        pipes = self._pipes[: max(1, dispatch.known)]
        for index, pipe in enumerate(pipes):
            pipe.send((dispatch.stripe(index, len(pipes)), clock))
        completed = dict.fromkeys(pipes, 0)
        served: dict[Connection, Served] = {}
        while waiting := [pipe for pipe in pipes if pipe not in served]:
            for pipe in cast("list[Connection]", wait(waiting)):
                told = _told(pipe)
                if isinstance(told, Served):
                    served[pipe] = told
                else:
                    completed[pipe] = told
                    on_progress(sum(completed.values()))
        return merged([served[pipe] for pipe in pipes])


@contextmanager
def started(
    options: EndpointOptions, address: tuple[str, int], payload: Payloads
) -> Iterator[Clients]:
    """Start the clients and wait until each is ready; they end with the context."""
    plain = {name: getattr(options, name) for name in EndpointOptions.model_fields}
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(options.clients)]
    processes = [
        context.Process(target=_work, args=(theirs, plain, address, payload), daemon=True)
        for _, theirs in pairs
    ]
    try:
        for process in processes:
            process.start()
        for ours, theirs in pairs:
            theirs.close()
            if not ours.poll(START_SECONDS) or _told(ours) != READY:
                raise MeasurementError("endpoint: a client process does not start; try fewer")
        yield Clients([ours for ours, _ in pairs])
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _told(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise MeasurementError(
            "endpoint: a client process has ended before its load; memory may have run out"
        ) from None


def _work(
    pipe: Connection, plain: dict[str, Any], address: tuple[str, int], payload: Payloads
) -> None:
    """Be a client: wait for a stripe and its clock, serve it, hand back what was seen."""
    target = EndpointOptions(**plain).target(*address)
    pipe.send(READY)
    dispatch, clock = pipe.recv()
    last = 0.0

    def progress(completed: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= PROGRESS_SECONDS:
            last = now
            pipe.send(completed)

    pipe.send(serve(target, payload, dispatch, clock, progress))
