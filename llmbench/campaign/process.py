"""Worker processes: each runs one job with an installation of llmbench and reports events.

Importing this module is cheap, so that a worker can start before this process has imported the
modules that a campaign needs.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from llmbench.environment import child_process
from llmbench.environment.child_process import Child
from llmbench.environment.software import SLOWDOWN, worker_variables
from llmbench.runs.redaction import redact

if TYPE_CHECKING:
    from llmbench.campaign.job import Job
    from llmbench.campaign.observer import Listener
    from llmbench.loads.progress import Progress
    from llmbench.runs.run import Failure

STDERR_LINES = 40
logger = logging.getLogger(__name__)
WORKER = "llmbench.worker"
STORING = "storing"  # the stage of a worker that has measured its run


@dataclass(frozen=True, slots=True)
class Installation:
    """The llmbench that workers run: an interpreter, and folders searched before its packages.

    ``slowdown`` is the relative slowdown of each step of a local backend.
    """

    python: str = sys.executable
    paths: tuple[Path, ...] = ()
    slowdown: float | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of its workers.

        They are set before a worker starts, since OpenMP reads its own when torch is imported.
        """
        changed = {}
        if paths := self.paths or self._uninstalled():
            before = [*map(str, paths), os.environ.get("PYTHONPATH", "")]
            changed["PYTHONPATH"] = os.pathsep.join(filter(None, before))
        if self.slowdown is not None:
            changed[SLOWDOWN] = str(self.slowdown)
        return {**worker_variables(), **changed}

    def _uninstalled(self) -> tuple[Path, ...]:
        """Return the folder of this package if Python found it in the working directory.

        Workers do not search that, and would import an installed version instead.
        """
        folder = Path(__file__).parents[2]
        is_found_there = not sys.flags.safe_path and Path(sys.path[0]) == folder == Path.cwd()
        return (folder,) if is_found_there and self.python == sys.executable else ()

    def launch(self, module: str, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Run a job with ``python -m module``, for at most ``timeout`` seconds.

        Returns the failure, with the end of the worker's stderr, or None.
        """
        with self.worker(module) as worker:
            return worker.do(job, timeout, listener)

    @contextmanager
    def worker(self, module: str = WORKER) -> Iterator[Worker]:
        """Start ``python -m module``, which imports its modules and waits for its job."""
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr,
            child_process.started(
                module,
                python=self.python,
                environment=self.environment,
                stderr=stderr,
                has_session=True,
            ) as child,
        ):
            logger.debug("worker %d: %s -m %s", child.pid, self.python, module)
            yield Worker(child, stderr)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process that waits for its job, with the file of its stderr."""

    child: Child
    stderr: TextIO

    def do(self, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Do a job for at most ``timeout`` seconds; return the failure or None."""
        failure = self._follow(job, timeout, listener)
        self.child.kill()
        return _with_stderr(failure, self.stderr) if failure else None

    def _follow(self, job: Job, timeout: float, listener: Listener) -> Failure | None:
        from llmbench.runs.run import Failure  # noqa: PLC0415 (pyarrow; the worker starts first)

        deadline = time.monotonic() + timeout
        reported: Failure | None = None
        self.child.send(job.message())
        self.child.close()  # workers of other versions read stdin to EOF
        try:
            while self.child.poll(_until(deadline)):
                reported = forward_event(self.child.receive(dict[str, Any]), listener) or reported
        except EOFError:
            with suppress(subprocess.TimeoutExpired):
                return _failure(self.child.wait(_until(deadline)), reported)
        return Failure("timeout", f"did not finish within {timeout:g} s; raise `timeout`")


def _until(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


THIS = Installation()


class Launcher(Protocol):
    """What runs jobs in worker processes."""

    def launch(self, module: str, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Run a job with ``python -m module``, as `Installation.launch` does."""


class Relay:
    """Runs jobs in workers of this installation that are started before they are needed.

    A worker imports its modules while this process reads the scenario, or while the worker before
    it stores its run. By then that one has measured everything, so no load is disturbed.
    ``has_more`` is whether another job follows the next one.
    """

    def __init__(self) -> None:
        self.has_more = False
        self._started = ExitStack()
        self._next: Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def start(self) -> None:
        """Start the worker of the next job."""
        self._next = self._started.enter_context(THIS.worker())

    def launch(self, module: str, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Run a job with the worker that was started for it, or else with a new one."""
        worker, self._next = self._next, None
        if worker is None or module != WORKER:
            return THIS.launch(module, job, timeout, listener)
        with self._started.pop_all():
            return worker.do(job, timeout, _StartsNext(listener, self))


@dataclass(frozen=True, slots=True)
class _StartsNext:
    """A listener that forwards events, and starts the next worker when a run is measured."""

    listener: Listener
    relay: Relay

    def stage(self, text: str) -> None:
        self.listener.stage(text)
        if text == STORING and self.relay.has_more:
            self.relay.start()

    def progress(self, progress: Progress) -> None:
        self.listener.progress(progress)


def forward_event(event: dict[str, Any], listener: Listener) -> Failure | None:
    """Forward a worker's event to a listener; return the failure instead if it reports one."""
    from llmbench.loads.progress import Progress  # noqa: PLC0415 (numpy; the worker starts first)
    from llmbench.runs.run import Failure  # noqa: PLC0415 (pyarrow; the same)

    if "failure" in event:
        return Failure(event["failure"], redact(event["message"]))
    if "stage" in event:
        logger.info("%s", event["stage"])
        listener.stage(redact(event["stage"]))
    else:
        listener.progress(Progress.from_event(event))
    return None


def _with_stderr(failure: Failure, stderr: TextIO) -> Failure:
    stderr.seek(0)
    tail = [redact(line) for line in deque(stderr, maxlen=STDERR_LINES)]
    last = next((line.strip() for line in reversed(tail) if line.strip()), "no output")
    message = failure.message.replace("{last line}", last)
    return replace(failure, message=message, stderr_tail="".join(tail))


def _failure(code: int, reported: Failure | None) -> Failure | None:
    """Return the failure of a worker that exited with ``code``; None if it succeeded."""
    if code == 0 or reported:
        return reported
    from llmbench.runs.run import Failure  # noqa: PLC0415 (pyarrow; the worker starts first)

    if code < 0:
        return Failure("killed", _killed_by(-code))
    return Failure("error", f"the worker exited with code {code}: {{last line}}")


def _killed_by(number: int) -> str:
    remedy = "if memory ran out, use a smaller model, fewer slots or a narrower dtype"
    hint = f"; {remedy}" if number == signal.SIGKILL else ""
    return f"the worker was killed by {signal.Signals(number).name}{hint}"
