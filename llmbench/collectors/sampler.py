"""A process that reads all probes at fixed intervals and sends the readings at the end.

It sends READY once its modules are imported, receives a job, and sends the quantities once all
probes are open. It reads the probes until it receives STOP, then sends all series as one Arrow IPC
stream, with facts and caveats in the metadata. It exits when its stdin closes.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from llmbench.collectors.base import COLLECTORS, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.collectors.recorder import Recorder
from llmbench.environment import child_process
from llmbench.environment.child_process import Channel, Child
from llmbench.errors import MeasurementError
from llmbench.runs.arrow import leave_out_pandas
from llmbench.runs.caveats import Caveat
from llmbench.runs.series import Series, read_series, series_table

NICENESS = 5
START_SECONDS = 60.0
STOP_SECONDS = 30.0
READY, STOP = "ready", "stop"
MODULE = "llmbench.collectors.sampler"

T = TypeVar("T")


@dataclass(slots=True)
class Collected:
    """The collectors' results, filled when the watch ends; times are of CLOCK_MONOTONIC."""

    absolute: tuple[Series, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()

    def series(self, origin: float) -> tuple[Series, ...]:
        """Return the series with times in seconds since ``origin`` (of ``time.monotonic()``)."""
        return tuple(series.since(origin) for series in self.absolute)


class Sampler:
    """A sampler's process, which imports its modules and then waits to be told what to watch."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._is_ready = False

    def wait(self) -> None:
        """Wait until the process is idle; raises MeasurementError if it cannot start."""
        if not self._is_ready:
            _receive(self.child, str)
            self._is_ready = True


@contextmanager
def started(collectors: Sequence[CollectorOptions]) -> Iterator[Sampler | None]:
    """Start the process of a sampler, to have it ready later; None without collectors."""
    if not collectors:
        yield None
        return
    with child_process.started(MODULE) as child:
        yield Sampler(child)


@contextmanager
def watch(
    collectors: Sequence[CollectorOptions], pid: int | None = None, sampler: Sampler | None = None
) -> Iterator[Collected]:
    """Monitor a process (by default this one) and its machine during the block.

    ``collectors`` are the collectors' options, ``sampler`` the process if it was started before.
    The sampler is ready when the block begins. Raises MeasurementError if it cannot start. If it
    dies later, every quantity is unavailable with the reason, and there is a caveat.
    """
    collected = Collected()
    with nullcontext(sampler) if sampler else started(collectors) as process:
        if process is None:
            yield collected
            return
        process.wait()
        process.child.send(_Job(pid or os.getpid(), _options(collectors)))
        quantities = _receive(process.child, list[Quantity])
        try:
            yield collected
        finally:
            _finish(process.child, quantities, collected)


@dataclass(frozen=True, slots=True)
class _Job:
    """The process to watch, and the options of the collectors."""

    pid: int
    collectors: list[dict[str, Any]]


def _options(collectors: Sequence[CollectorOptions]) -> list[dict[str, Any]]:
    # a collector that measures the idle time after the load concludes last
    ordered = sorted(collectors, key=lambda options: options.idle_seconds)
    return [options.model_dump(mode="json") for options in ordered]


def _receive(sampler: Child, kind: type[T]) -> T:
    """Return the sampler's next message, while it starts."""
    if not sampler.poll(START_SECONDS):
        raise MeasurementError(f"the sampler was not ready within {START_SECONDS:g} s")
    try:
        return sampler.receive(kind)
    except EOFError:
        code = sampler.wait()
        raise MeasurementError(f"the sampler exited with code {code}; see its stderr") from None


def _finish(sampler: Child, quantities: list[Quantity], into: Collected) -> None:
    sampler.send(STOP)
    if not sampler.poll(STOP_SECONDS):
        sampler.kill()
    try:
        stream = sampler.receive_bytes()
    except EOFError:
        _fill_with_reason(into, quantities, sampler.wait())
    else:
        _fill(into, pa.ipc.open_stream(stream).read_all())


def _fill(collected: Collected, table: pa.Table) -> None:
    metadata = table.schema.metadata
    collected.absolute = read_series(table)
    collected.facts = json.loads(metadata[b"facts"])
    collected.caveats = tuple(Caveat(**caveat) for caveat in json.loads(metadata[b"caveats"]))


def _fill_with_reason(collected: Collected, quantities: list[Quantity], code: int) -> None:
    how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
    reason = f"the sampler {how} during the run"
    collected.absolute = tuple(
        Series.unavailable(quantity.name, quantity.unit, quantity.unavailable or reason)
        for quantity in quantities
    )
    collected.caveats = (Caveat("sampler-died", how=how),)


# -- inside the sampler's process ------------------------------------------------------------------


def main() -> int:
    """Read all probes until STOP arrives, then send series, facts and caveats."""
    parent = child_process.parent()
    parent.send(READY)
    job = parent.receive(_Job)
    os.nice(NICENESS)
    recorders = list(_recorders(job))
    cost = _Cost()
    for recorder in recorders:
        recorder.begin(cost.began)
    parent.send([quantity for recorder in recorders for quantity in recorder.quantities])
    if _sample(recorders, parent):
        table = _as_table(recorders, cost)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        parent.send_bytes(memoryview(sink.getvalue()))
    return 0


def _recorders(job: _Job) -> Iterator[Recorder]:
    numbers: Counter[str] = Counter()
    for options in job.collectors:
        numbers[options["kind"]] += 1
        yield _recorder(options, job.pid, numbers[options["kind"]])


def _recorder(options: dict[str, Any], pid: int, number: int) -> Recorder:
    kind = options["kind"]

    def open_probe() -> Probe:
        found = COLLECTORS.find(kind)
        fields = {key: value for key, value in options.items() if key != "kind"}
        part = found(found.Options(**fields))
        part.number = number
        return part.probe(pid)

    return Recorder(kind, options["interval"], open_probe)


def _sample(recorders: Sequence[Recorder], parent: Channel) -> bool:
    """Read each probe when due; return True after STOP, False if the parent exited."""
    while not parent.poll(_seconds_until(min(recorder.due for recorder in recorders))):
        now = time.monotonic()
        for recorder in recorders:
            if recorder.due <= now:
                recorder.read()
    try:
        return parent.receive(str) == STOP
    except EOFError:
        return False


def _seconds_until(due: float) -> float | None:
    return None if due == float("inf") else max(0.0, due - time.monotonic())


@dataclass(frozen=True, slots=True)
class _Cost:
    """The sampler process's own CPU time since this object was created."""

    began: float = field(default_factory=time.monotonic)
    cpu_before: float = field(default_factory=time.process_time)

    def facts(self) -> dict[str, float]:
        cpu, window = time.process_time() - self.cpu_before, time.monotonic() - self.began
        return {
            "window_seconds": window,
            "cpu_seconds": cpu,
            "cpu_percent_of_a_core": 100 * cpu / window,
            "startup_cpu_seconds": self.cpu_before,
        }


def _as_table(recorders: Sequence[Recorder], cost: _Cost) -> pa.Table:
    """Return all series as a table, with facts and caveats in its metadata."""
    spent = cost.facts()
    conclusions: list[Conclusion] = [recorder.conclude() for recorder in recorders]
    facts = merged([conclusion.facts for conclusion in conclusions])
    facts["sampler"] = {
        **spent,
        "samples": {recorder.kind: recorder.readings for recorder in recorders},
        "overruns": {recorder.kind: recorder.ticks.missed for recorder in recorders},
        "failures": {recorder.kind: r for recorder in recorders if (r := recorder.failure)},
    }
    caveats = [caveat.as_dict() for c in conclusions for caveat in c.caveats]
    series = [series for recorder in recorders for series in recorder.series()]
    return series_table(series, facts=facts, caveats=caveats)


def merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge the facts of several collectors; devices of one fact may come from several."""
    facts: dict[str, Any] = {}
    for key, value in ((key, value) for part in parts for key, value in part.items()):
        is_shared = isinstance(value, dict) and key in facts
        facts[key] = {**facts[key], **value} if is_shared else value
    return facts


if __name__ == "__main__":
    leave_out_pandas()
    raise SystemExit(main())
