"""A worker: a process of an installed llmbench that does one job and reports how it goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from llmbench.campaign.observer import Listener
from llmbench.campaign.worker import SLOWDOWN
from llmbench.loads.progress import Progress
from llmbench.runs.redaction import redact
from llmbench.runs.run import Failure

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

STDERR_LINES = 40


class Launcher(Protocol):
    """Starts workers."""

    def launch(
        self, module: str, job: DataclassInstance, timeout: float, listener: Listener
    ) -> Failure | None:
        """Have a module's worker do a job; return how it failed, or None."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The llmbench of a worker: an interpreter, and folders that precede its own packages.

    The working directory is not searched for modules, except by THIS installation.
    ``slowdown`` is the share of its time by which every step of a local backend takes longer.
    """

    python: str = sys.executable
    paths: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ("-P",)
    slowdown: float | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its workers."""
        changed = {}
        if self.paths:
            before = [*map(str, self.paths), os.environ.get("PYTHONPATH", "")]
            changed["PYTHONPATH"] = os.pathsep.join(filter(None, before))
        if self.slowdown is not None:
            changed[SLOWDOWN] = str(self.slowdown)
        return {**os.environ, **changed}

    def launch(
        self, module: str, job: DataclassInstance, timeout: float, listener: Listener
    ) -> Failure | None:
        """Have a worker process do a job; return how it failed, or None."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
            worker = _Worker(module, job, timeout, stderr, self)
            failure = worker.follow(listener)
            return _with_stderr(failure, stderr) if failure else None


THIS = Installation(flags=())


def pass_on(event: dict[str, Any], listener: Listener) -> Failure | None:
    """Pass a worker's event to a listener; return the failure that it reports, if any."""
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
    last = next((line.strip() for line in reversed(tail) if line.strip()), "it wrote nothing")
    message = redact(failure.message).replace("{last line}", last)
    return Failure(failure.kind, message, "".join(tail))


@dataclass(slots=True)
class _Worker:
    """A worker process while it is followed."""

    module: str
    job: DataclassInstance
    timeout: float
    stderr: TextIO
    installation: Installation
    reported: Failure | None = None
    timed_out: threading.Event = field(default_factory=threading.Event)

    def follow(self, listener: Listener) -> Failure | None:
        """Start the worker, pass its events on, and say how it failed, or None."""
        with self._process() as process, self._deadline(process):
            stdin, stdout = cast("TextIO", process.stdin), cast("TextIO", process.stdout)
            with suppress(BrokenPipeError), stdin:  # it died already, which is judged below
                json.dump(asdict(self.job), stdin)
            self._pass_on(stdout, listener)
            code = process.wait()
        return self._judge(code)

    @contextmanager
    def _process(self) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [self.installation.python, *self.installation.flags, "-m", self.module],
            env=self.installation.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                _kill(process)

    @contextmanager
    def _deadline(self, process: subprocess.Popen[str]) -> Iterator[None]:
        def end() -> None:
            self.timed_out.set()
            _kill(process)

        timer = threading.Timer(self.timeout, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _pass_on(self, lines: Iterable[str], listener: Listener) -> None:
        for line in lines:
            self.reported = pass_on(json.loads(line), listener) or self.reported

    def _judge(self, code: int) -> Failure | None:
        if self.timed_out.is_set():
            return Failure("timeout", f"did not finish within {self.timeout:g} s; raise `timeout`")
        if code == 0 or self.reported:
            return self.reported
        if code < 0:
            return Failure("killed", _killed_by(-code))
        return Failure("error", f"the worker ended with exit code {code}: {{last line}}")


def _killed_by(number: int) -> str:
    name = signal.Signals(number).name
    hint = (
        "; the kernel does this when memory runs out: use a smaller model, fewer slots or a "
        "narrower dtype"
        if number == signal.SIGKILL
        else ""
    )
    return f"the worker was killed by {name}{hint}"


def _kill(process: subprocess.Popen[str]) -> None:
    """End the worker and whatever it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
