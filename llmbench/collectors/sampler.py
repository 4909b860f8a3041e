"""One process that reads all probes at a steady pace and hands its readings over at the end.

Protocol: the parent writes a job to stdin as one line of JSON. When all probes are open, the
sampler writes their quantities to stdout as one line of JSON. It reads the probes until the line
``stop`` comes, then writes all series to stdout as one Arrow IPC stream, with facts and caveats in
its metadata. When the parent dies, the sampler ends: its stdin ends, and the kernel also sends a
signal, in case a child of the parent keeps the pipe open.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from llmbench import plugins
from llmbench.collectors.base import Conclusion, Probe, Quantity
from llmbench.collectors.recorder import Recorder
from llmbench.errors import MeasurementError
from llmbench.runs.caveats import Caveat
from llmbench.runs.series import Series, read_series, series_table

NICENESS = 5
START_SECONDS = 60.0
STOP_SECONDS = 30.0
STOP = b"stop\n"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(slots=True)
class Collected:
    """What the collectors saw, filled when the watch ends; times are of CLOCK_MONOTONIC."""

    absolute: tuple[Series, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()

    def series(self, origin: float) -> tuple[Series, ...]:
        """Return the series with times in seconds since ``origin`` (of ``time.monotonic()``)."""
        return tuple(series.since(origin) for series in self.absolute)


@contextmanager
def watch(collectors: Sequence[Any], pid: int | None = None) -> Iterator[Collected]:
    """Watch a process (by default this one) and its machine during the block.

    ``collectors`` are options of collectors. The sampler is ready when the block begins. Raises
    MeasurementError when the sampler cannot start. When it dies later, every quantity is
    unavailable with the reason, and there is a caveat.
    """
    collected = Collected()
    if not collectors:
        yield collected
        return
    with _start() as process:
        promised = _begin(process, _job(collectors, pid or os.getpid()))
        try:
            yield collected
        finally:
            _finish(process, promised, collected)


def _job(collectors: Sequence[Any], pid: int) -> dict[str, Any]:
    # a collector that watches the idle time after the load concludes last
    ordered = sorted(collectors, key=lambda options: getattr(options, "idle", 0.0))
    options = [options.model_dump(mode="json") for options in ordered]
    return {"pid": pid, "parent": os.getpid(), "collectors": options}


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "llmbench.collectors.sampler"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _begin(process: subprocess.Popen[bytes], job: dict[str, Any]) -> list[Quantity]:
    """Send the job, wait until all probes are open, and return what they will read."""
    if process.stdin is None or process.stdout is None:
        raise MeasurementError("the sampler has no pipes")
    with suppress(BrokenPipeError):  # it ended already, which is seen below
        os.write(process.stdin.fileno(), f"{json.dumps(job)}\n".encode())
    if not select.select([process.stdout], [], [], START_SECONDS)[0]:
        process.kill()
        raise MeasurementError(f"the sampler was not ready within {START_SECONDS:g} s")
    line = process.stdout.readline()
    if not line:
        code = process.wait()
        raise MeasurementError(f"the sampler ended with exit code {code}; its stderr says why")
    return [Quantity(**quantity) for quantity in json.loads(line)]


def _finish(process: subprocess.Popen[bytes], promised: list[Quantity], into: Collected) -> None:
    try:
        stream, _ = process.communicate(STOP, timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        stream, _ = process.communicate()
    if process.returncode == 0:
        _fill(into, pa.ipc.open_stream(stream).read_all())
    else:
        _fill_with_reason(into, promised, process.returncode)


def _fill(collected: Collected, table: pa.Table) -> None:
    metadata = table.schema.metadata
    collected.absolute = read_series(table)
    collected.facts = json.loads(metadata[b"facts"])
    collected.caveats = tuple(Caveat(**caveat) for caveat in json.loads(metadata[b"caveats"]))


def _fill_with_reason(collected: Collected, promised: list[Quantity], code: int) -> None:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    reason = f"the sampler {how} during the run"
    collected.absolute = tuple(
        Series.unavailable(quantity.name, quantity.unit, quantity.unavailable or reason)
        for quantity in promised
    )
    collected.caveats = (Caveat("sampler-died", how=how),)


# -- inside the sampler's process ------------------------------------------------------------------


def main() -> int:
    """Sample until told to stop."""
    out = _own_stdout()
    job = json.loads(sys.stdin.buffer.readline())
    _end_with(job["parent"])
    os.nice(NICENESS)
    recorders = [_recorder(options, job["pid"]) for options in job["collectors"]]
    cost = _Cost()
    for recorder in recorders:
        recorder.begin(cost.began)
    promised = [asdict(quantity) for recorder in recorders for quantity in recorder.quantities]
    out.write(f"{json.dumps(promised)}\n".encode())
    out.flush()
    if _sample(recorders):
        table = _summed_up(recorders, cost)
        with out, pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table)
    return 0


def _own_stdout() -> BinaryIO:
    """Keep stdout for the protocol; what libraries print goes to stderr instead."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return own


def _end_with(parent: int) -> None:
    """End when the parent ends; leave an interrupt from the terminal to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be watched
        raise SystemExit(1)


def _recorder(options: dict[str, Any], pid: int) -> Recorder:
    kind = options["kind"]

    def open_probe() -> Probe:
        part = plugins.find("collector", kind)
        given = {key: value for key, value in options.items() if key != "kind"}
        probe: Probe = part(part.Options(**given)).probe(pid)
        return probe

    return Recorder(kind, options["interval"], open_probe)


def _sample(recorders: Sequence[Recorder]) -> bool:
    """Read each probe when it is due; True when told to stop, False when the parent is gone."""
    while not _stdin_speaks(min(recorder.due for recorder in recorders)):
        now = time.monotonic()
        for recorder in recorders:
            if recorder.due <= now:
                recorder.read()
    return sys.stdin.buffer.readline() == STOP


def _stdin_speaks(until: float) -> bool:
    """Sleep until a moment; True at once when stdin has a line or has ended."""
    wait = None if until == float("inf") else max(0.0, until - time.monotonic())
    return bool(select.select([sys.stdin], [], [], wait)[0])


@dataclass(frozen=True, slots=True)
class _Cost:
    """What the sampler itself takes from the machine, from now on."""

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


def _summed_up(recorders: Sequence[Recorder], cost: _Cost) -> pa.Table:
    """Return all series as a table, with facts and caveats in its metadata."""
    spent = cost.facts()
    conclusions: list[Conclusion] = [recorder.conclude() for recorder in recorders]
    facts = {key: value for c in conclusions for key, value in c.facts.items()}
    facts["sampler"] = {
        **spent,
        "samples": {recorder.kind: recorder.readings for recorder in recorders},
        "overruns": {recorder.kind: recorder.ticks.missed for recorder in recorders},
        "failures": {recorder.kind: r for recorder in recorders if (r := recorder.failure)},
    }
    caveats = [caveat.as_dict() for c in conclusions for caveat in c.caveats]
    series = [series for recorder in recorders for series in recorder.series()]
    return series_table(series, facts=facts, caveats=caveats)


if __name__ == "__main__":
    raise SystemExit(main())
