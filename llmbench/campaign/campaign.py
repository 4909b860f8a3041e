"""All runs of a scenario, each in a fresh process, in a seeded and interleaved order."""

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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO, cast

from llmbench import models, plugins
from llmbench.campaign.worker import SLOWDOWN, Job
from llmbench.errors import InputError
from llmbench.loads.progress import Progress
from llmbench.quality.evaluate import read_text
from llmbench.runs import store
from llmbench.runs.redaction import redact
from llmbench.runs.run import Failure, Run
from llmbench.runs.store import PlannedRun, RunSet
from llmbench.scenario.file import Source, load_case
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Case, Objective

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

STDERR_LINES = 40


class Listener(Protocol):
    """Somebody who is told what a worker does."""

    def stage(self, text: str) -> None:
        """It does something else now."""

    def progress(self, progress: Progress) -> None:
        """It has come so far."""


class Observer(Listener, Protocol):
    """Somebody who watches a campaign go on."""

    def began(self, planned: PlannedRun, index: int, total: int | None, side: str = "") -> None:
        """A run begins, the index-th (from 1) of all that are still to be done, or of a side.

        The total is None where it turns out only as runs are measured.
        """

    def ended(self, run: Run) -> None:
        """A run has been stored, measured or failed."""


def plan(source: Source) -> tuple[PlannedRun, ...]:
    """Order the runs: each repeat goes through all cases once, shuffled anew by the seed."""
    draws = stream(source.scenario.seed, "order of runs")
    return tuple(
        PlannedRun(case.name, case.slug, repeat, case.point, case.spec)
        for repeat in range(1, source.scenario.repeats + 1)
        for case in (source.cases[index] for index in draws.permutation(len(source.cases)))
    )


def begin(source: Source, folder: Path, planned: tuple[PlannedRun, ...] | None = None) -> RunSet:
    """Make the results folder for a scenario, with all its runs planned, or with these.

    Raises InputError when a model or an extra cannot be there or the folder cannot be used.
    """
    check(source)
    run_set = RunSet(
        folder=folder,
        name=source.scenario.name,
        description=source.scenario.description,
        began_at=datetime.now(UTC).isoformat(timespec="seconds"),
        scenario_text=source.text,
        overrides=source.overrides,
        origins={".".join(map(str, at)): origin for at, origin in source.origins.items() if at},
        plan=plan(source) if planned is None else planned,
    )
    store.create(run_set)
    return run_set


def check(source: Source) -> None:
    """Raise InputError when a model, an extra or a file that a scenario needs cannot be there."""
    for case in source.cases:
        plugins.require("backend", case.backend.kind)
        plugins.require("load", case.scenario.load.kind)
        models.check_source(case.scenario.model)
        _check_files(case)
        _check_classes(case)
        if quality := case.scenario.quality:
            plugins.require("backend", quality.reference.kind)
            read_text(quality)


def _check_files(case: Case) -> None:
    """Read what the workload and the load read, before anything is measured."""
    for kind, options in (("workload", case.scenario.workload), ("load", case.scenario.load)):
        part = plugins.find(cast("plugins.Kind", kind), options.kind)(options)
        if hasattr(part, "check"):
            part.check()


def _check_classes(case: Case) -> None:
    """Refuse objectives of classes of requests that the workload has not."""
    asked = {Objective.of(key).request_class for key in case.scenario.slo} - {None}
    if not asked:
        return
    options = case.scenario.workload
    part = plugins.find("workload", options.kind)(options)
    known: set[str] = getattr(part, "classes", set())
    if unknown := sorted(map(str, asked - known)):
        raise InputError(
            f"slo: the workload has no requests of class {', '.join(unknown)}; "
            + (f"it has {', '.join(sorted(known))}" if known else "see `workload: mixed`")
        )


def run_all(run_set: RunSet, observer: Observer) -> RunSet:
    """Run whatever the plan still lacks and return the run set with it.

    A run that fails is stored as failed and the rest go on. KeyboardInterrupt ends the run in
    progress and is passed on; finished runs are stored already.
    """
    missing = run_set.missing
    store.sweep_partials(run_set.folder)
    for index, planned in enumerate(missing, start=1):
        observer.began(planned, index, len(missing))
        observer.ended(run_one(run_set.folder, planned, observer))
    return store.read(run_set.folder)


@dataclass(frozen=True, slots=True)
class Installation:
    """The llmbench that a worker is of: an interpreter, and a checkout that goes before it.

    What lies in the working directory is not taken for either; THIS looks where we did.
    ``slowdown`` is the share of its time by which every step of a local backend takes longer.
    """

    python: str = sys.executable
    checkout: Path | None = None
    flags: tuple[str, ...] = ("-P",)
    slowdown: float | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its workers."""
        changed = {}
        if self.checkout is not None:
            before = [str(self.checkout), os.environ.get("PYTHONPATH", "")]
            changed["PYTHONPATH"] = os.pathsep.join(filter(None, before))
        if self.slowdown is not None:
            changed[SLOWDOWN] = str(self.slowdown)
        return {**os.environ, **changed}


THIS = Installation(flags=())


def run_one(
    folder: Path, planned: PlannedRun, observer: Observer, installation: Installation = THIS
) -> Run:
    """Measure one planned run in a worker; store it as failed when the worker does not."""
    case = load_case(planned.spec, planned.case, planned.point)
    began_at = datetime.now(UTC).isoformat(timespec="seconds")
    job = Job(str(folder), planned.case, planned.point, planned.spec, planned.repeat)
    failure = follow("llmbench.worker", job, case.scenario.timeout, observer, installation)
    if failure is None:
        return store.read_run(folder, planned)
    failed = _failed(case, planned.repeat, began_at, failure)
    store.write_run(folder, failed)
    return failed


def follow(
    module: str,
    job: DataclassInstance,
    timeout: float,
    listener: Listener,
    installation: Installation = THIS,
) -> Failure | None:
    """Have a module's worker do a job in a process of its own; say how it failed, or None."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        worker = _Worker(module, job, timeout, stderr, installation)
        failure = worker.follow(listener)
        return _with_stderr(failure, stderr) if failure else None


def _with_stderr(failure: Failure, stderr: TextIO) -> Failure:
    stderr.seek(0)
    tail = [redact(line) for line in deque(stderr, maxlen=STDERR_LINES)]
    last = next((line.strip() for line in reversed(tail) if line.strip()), "it wrote nothing")
    message = redact(failure.message).replace("{last line}", last)
    return Failure(failure.kind, message, "".join(tail))


def _failed(case: Case, repeat: int, began_at: str, failure: Failure) -> Run:
    return Run(
        case=case.name,
        slug=case.slug,
        backend=case.backend.kind,
        repeat=repeat,
        point=case.point,
        spec=case.spec,
        began_at=began_at,
        failure=failure,
    )


@dataclass(slots=True)
class _Worker:
    """A worker process while it is followed."""

    module: str
    job: DataclassInstance
    timeout: float
    stderr: TextIO
    installation: Installation
    told: Failure | None = None
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
            event = json.loads(line)
            if "stage" in event:
                listener.stage(event["stage"])
            elif "failure" in event:
                self.told = Failure(event["failure"], event["message"])
            else:
                listener.progress(Progress.told(event))

    def _judge(self, code: int) -> Failure | None:
        if self.timed_out.is_set():
            return Failure("timeout", f"did not finish within {self.timeout:g} s; raise `timeout`")
        if code == 0 or self.told:
            return self.told
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
