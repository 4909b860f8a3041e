"""One process that reads all probes at a steady pace and hands its readings over at the end.

Protocol: a job as one JSON line on stdin; on stdout a line with the quantities when all probes are
open; readings until a line ``stop`` on stdin; then everything as one JSON line on stdout. When the
parent dies the sampler ends by itself: its stdin ends, and the kernel sends it a signal besides,
should a child of the parent have kept the pipe open.
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
from typing import Any, TextIO

from llmbench import plugins
from llmbench.collectors.base import Conclusion, Probe, Quantity
from llmbench.collectors.recorder import Recorder
from llmbench.errors import MeasurementError
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Series

NICENESS = 5
START_SECONDS = 60.0
STOP_SECONDS = 30.0
STOP = "stop\n"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(slots=True)
class Watched:
    """What the sampler saw, once the watch is over; times are of CLOCK_MONOTONIC."""

    absolute: tuple[Series, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()

    def series(self, origin: float) -> list[Series]:
        """Give the series with times in seconds since ``origin`` (of ``time.monotonic()``)."""
        return [
            Series(s.name, s.unit, s.source, tuple(t - origin for t in s.times), s.values)
            for s in self.absolute
        ]


@contextmanager
def watch(collectors: Sequence[Any], pid: int | None = None) -> Iterator[Watched]:
    """Watch a process (this one) and its machine with these collectors (their options) meanwhile.

    The sampler is ready when the block begins. Each collector keeps the ``interval`` of its
    options. Raises MeasurementError when the sampler cannot start; when it dies later, every
    quantity is unavailable with the reason, and a caveat says so.
    """
    watched = Watched()
    if not collectors:
        yield watched
        return
    with _start() as process:
        promised = _begin(process, _job(collectors, pid or os.getpid()))
        try:
            yield watched
        finally:
            _finish(process, promised, watched)


def _job(collectors: Sequence[Any], pid: int) -> dict[str, Any]:
    # one that watches the idle time after the load ends last, so that this is in no other's window
    ordered = sorted(collectors, key=lambda each: getattr(each, "idle", 0.0))
    options = [each.model_dump(mode="json") for each in ordered]
    return {"pid": pid, "parent": os.getpid(), "collectors": options}


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "llmbench.collectors.sampler"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _begin(process: subprocess.Popen[str], job: dict[str, Any]) -> list[Quantity]:
    """Hand over the job and wait until all probes are open; give what they will read."""
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
        raise MeasurementError(f"the sampler ended with exit code {code}; stderr has its words")
    return [Quantity(**told) for told in json.loads(line)]


def _finish(process: subprocess.Popen[str], promised: list[Quantity], watched: Watched) -> None:
    try:
        text, _ = process.communicate(STOP, timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
    if process.returncode == 0:
        _take(watched, json.loads(text))
    else:
        _mourn(watched, promised, process.returncode)


def _take(watched: Watched, told: dict[str, Any]) -> None:
    watched.absolute = tuple(
        Series(s["name"], s["unit"], s["source"], tuple(s["times"]), tuple(s["values"]))
        for s in told["series"]
    )
    watched.facts = told["facts"]
    watched.caveats = tuple(Caveat(**caveat) for caveat in told["caveats"])


def _mourn(watched: Watched, promised: list[Quantity], code: int) -> None:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    why = f"the sampler {how} during the run"
    watched.absolute = tuple(
        Series.unavailable(each.name, each.unit, each.unavailable or why) for each in promised
    )
    watched.caveats = (Caveat("sampler-died", how=how),)


# -- inside the sampler's process ------------------------------------------------------------------


def main() -> int:
    """Sample until told to stop."""
    out = _own_stdout()
    job = json.loads(sys.stdin.readline())
    _end_with(job["parent"])
    os.nice(NICENESS)
    recorders = [_recorder(told, job["pid"]) for told in job["collectors"]]
    cost = _Cost()
    for recorder in recorders:
        recorder.begin(cost.began)
    _say(out, [asdict(quantity) for recorder in recorders for quantity in recorder.quantities])
    if _sample(recorders):
        _say(out, _told(recorders, cost))
    return 0


def _own_stdout() -> TextIO:
    """Keep stdout for the protocol; whatever a probe's library prints goes to stderr instead."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _end_with(parent: int) -> None:
    """End when the parent ends; leave an interrupt from the terminal to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be watched
        raise SystemExit(1)


def _say(out: TextIO, told: Any) -> None:
    out.write(json.dumps(told) + "\n")
    out.flush()


def _recorder(told: dict[str, Any], pid: int) -> Recorder:
    kind = told["kind"]

    def open_probe() -> Probe:
        part = plugins.find("collector", kind)
        given = {key: value for key, value in told.items() if key != "kind"}
        probe: Probe = part(part.Options(**given)).probe(pid)
        return probe

    return Recorder(kind, told["interval"], open_probe)


def _sample(recorders: Sequence[Recorder]) -> bool:
    """Read each probe when it is due; True when told to stop, False when the parent is gone."""
    while not _stdin_speaks(min(recorder.due for recorder in recorders)):
        now = time.monotonic()
        for recorder in recorders:
            if recorder.due <= now:
                recorder.read()
    return sys.stdin.readline() == STOP


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


def _told(recorders: Sequence[Recorder], cost: _Cost) -> dict[str, Any]:
    spent = cost.facts()
    conclusions: list[Conclusion] = [recorder.conclude() for recorder in recorders]
    facts = {key: value for c in conclusions for key, value in c.facts.items()}
    facts["sampler"] = {
        **spent,
        "samples": {recorder.kind: recorder.readings for recorder in recorders},
        "overruns": {recorder.kind: recorder.ticks.missed for recorder in recorders},
        "failures": {recorder.kind: r for recorder in recorders if (r := recorder.failure)},
    }
    return {
        "series": [asdict(series) for recorder in recorders for series in recorder.series()],
        "facts": facts,
        "caveats": [caveat.as_dict() for c in conclusions for caveat in c.caveats],
    }


if __name__ == "__main__":
    raise SystemExit(main())
