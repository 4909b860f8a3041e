"""Several client processes on one load: each has a shard of it, and all have one clock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from llmbench.backends.endpoint.client import Payloads
from llmbench.backends.endpoint.measured_serve import Served, merged
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.errors import MeasurementError
from llmbench.loads.clock import Clock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.progress import NOTHING_YET

READY = "ready"
START_SECONDS = 60.0


class Clients:
    """Processes that wait for their part of a load."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def serve(self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[int], None]) -> Served:
        """Hand each client its shard and wait for all of them.

        The clock should begin a little later, so that all have theirs when the first is due.
        Raises MeasurementError when a client dies.
        """
        pipes = self._pipes[: max(1, len(dispatch.due_times))]
        for index, pipe in enumerate(pipes):
            pipe.send((dispatch.shard(index, len(pipes)), clock))
        before = dict.fromkeys(pipes, NOTHING_YET)
        served: dict[Connection, Served] = {}
        while waiting := [pipe for pipe in pipes if pipe not in served]:
            for pipe in cast("list[Connection]", wait(waiting)):
                told = _told(pipe)
                if isinstance(told, Served):
                    served[pipe] = told
                else:
                    dispatch.add_progress(before[pipe], told)
                    before[pipe] = told
                    on_progress(dispatch.completed)
        whole = merged([served[pipe] for pipe in pipes])
        dispatch.conclude(whole.summary)
        return whole


@contextmanager
def started(
    options: EndpointOptions, address: tuple[str, int], payload: Payloads
) -> Iterator[Clients]:
    """Start the clients and wait until each is ready; they end with the context."""
    plain = {name: getattr(options, name) for name in EndpointOptions.model_fields}
    with ExitStack() as stack:
        pipes = [stack.enter_context(_process()) for _ in range(options.clients)]
        for pipe in pipes:
            pipe.send((plain, address, payload))
        for pipe in pipes:
            if not pipe.poll(START_SECONDS) or _told(pipe) != READY:
                raise MeasurementError("endpoint: a client process does not start; try fewer")
        yield Clients(pipes)


@contextmanager
def _process() -> Iterator[Connection]:
    """Start a client and give the pipe to it."""
    own_end, client_end = Pipe()
    command = [sys.executable, "-m", f"{__package__}.client_process", str(client_end.fileno())]
    with own_end, subprocess.Popen(command, pass_fds=[client_end.fileno()]) as process:
        client_end.close()
        try:
            yield own_end
        finally:
            process.kill()


def _told(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise MeasurementError(
            "endpoint: a client process has ended before its load; memory may have run out"
        ) from None
