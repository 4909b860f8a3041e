"""A worker process: an installed llmbench that does one job and reports its progress."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from llmbench.campaign.observer import Listener
from llmbench.campaign.worker import SLOWDOWN, Job
from llmbench.environment import child_process
from llmbench.loads.progress import Progress
from llmbench.runs.redaction import redact
from llmbench.runs.run import Failure

STDERR_LINES = 40


class Launcher(Protocol):
    """Runs jobs in worker processes."""

    def launch(self, module: str, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Run a job in a worker process of ``module``; return the failure, or None."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The llmbench that workers run: an interpreter, and folders searched before its packages.

    The working directory is not searched for modules, except by THIS installation. ``slowdown`` is
    the relative slowdown of every step of a local backend.
    """

    python: str = sys.executable
    paths: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ("-P",)
    slowdown: float | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which its workers start."""
        changed = {}
        if self.paths:
            before = [*map(str, self.paths), os.environ.get("PYTHONPATH", "")]
            changed["PYTHONPATH"] = os.pathsep.join(filter(None, before))
        if self.slowdown is not None:
            changed[SLOWDOWN] = str(self.slowdown)
        return {**os.environ, **changed}

    def launch(self, module: str, job: Job, timeout: float, listener: Listener) -> Failure | None:
        """Run a job in a worker process; return the failure, or None."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
            failure = self._follow(module, job, timeout, listener, stderr)
            return _with_stderr(failure, stderr) if failure else None

    def _follow(
        self, module: str, job: Job, timeout: float, listener: Listener, stderr: TextIO
    ) -> Failure | None:
        deadline = time.monotonic() + timeout
        reported: Failure | None = None
        with child_process.start(
            module,
            job.message(),
            python=[self.python, *self.flags],
            environment=self.environment,
            stderr=stderr,
            has_session=True,
        ) as child:
            child.close()  # workers of other versions read stdin to EOF
            try:
                while child.poll(_until(deadline)):
                    reported = forward_event(child.receive(dict[str, Any]), listener) or reported
            except EOFError:
                with suppress(subprocess.TimeoutExpired):
                    return _failure(child.wait(_until(deadline)), reported)
        return Failure("timeout", f"did not finish within {timeout:g} s; raise `timeout`")


def _until(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


THIS = Installation(flags=())


def forward_event(event: dict[str, Any], listener: Listener) -> Failure | None:
    """Forward a worker's event to a listener; return the failure that it reports, if any."""
    if "failure" in event:
        return Failure(event["failure"], event["message"])
    if "stage" in event:
        listener.stage(event["stage"])
    else:
        listener.progress(Progress.from_event(event))
    return None


def _with_stderr(failure: Failure, stderr: TextIO) -> Failure:
    stderr.seek(0)
    tail = [redact(line) for line in deque(stderr, maxlen=STDERR_LINES)]
    last = next((line.strip() for line in reversed(tail) if line.strip()), "no output")
    message = redact(failure.message).replace("{last line}", last)
    return Failure(failure.kind, message, "".join(tail))


def _failure(code: int, reported: Failure | None) -> Failure | None:
    """Return the failure of a worker that exited or was killed; None if it succeeded."""
    if code == 0 or reported:
        return reported
    if code < 0:
        return Failure("killed", _killed_by(-code))
    return Failure("error", f"the worker exited with code {code}: {{last line}}")


def _killed_by(number: int) -> str:
    name = signal.Signals(number).name
    hint = (
        "; the kernel may have done this because memory ran out: use a smaller model, fewer slots "
        "or a narrower dtype"
        if number == signal.SIGKILL
        else ""
    )
    return f"the worker was killed by {name}{hint}"
