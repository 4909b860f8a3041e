"""Worker processes: each runs one job with an installation of llmbench and reports events."""

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
from typing import Any, TextIO

from llmbench.campaign.observer import Listener
from llmbench.campaign.worker import SLOWDOWN, Job
from llmbench.environment import child_process
from llmbench.environment.software import worker_variables
from llmbench.loads.progress import Progress
from llmbench.runs.redaction import redact
from llmbench.runs.run import Failure

STDERR_LINES = 40


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
            python=self.python,
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


THIS = Installation()


def forward_event(event: dict[str, Any], listener: Listener) -> Failure | None:
    """Forward a worker's event to a listener; return the failure instead if it reports one."""
    if "failure" in event:
        return Failure(event["failure"], redact(event["message"]))
    if "stage" in event:
        listener.stage(redact(event["stage"]))
    else:
        listener.progress(Progress.from_event(event))
    return None


def _with_stderr(failure: Failure, stderr: TextIO) -> Failure:
    stderr.seek(0)
    tail = [redact(line) for line in deque(stderr, maxlen=STDERR_LINES)]
    last = next((line.strip() for line in reversed(tail) if line.strip()), "no output")
    message = failure.message.replace("{last line}", last)
    return Failure(failure.kind, message, "".join(tail))


def _failure(code: int, reported: Failure | None) -> Failure | None:
    """Return the failure of a worker that exited with ``code``; None if it succeeded."""
    if code == 0 or reported:
        return reported
    if code < 0:
        return Failure("killed", _killed_by(-code))
    return Failure("error", f"the worker exited with code {code}: {{last line}}")


def _killed_by(number: int) -> str:
    remedy = "if memory ran out, use a smaller model, fewer slots or a narrower dtype"
    hint = f"; {remedy}" if number == signal.SIGKILL else ""
    return f"the worker was killed by {signal.Signals(number).name}{hint}"
