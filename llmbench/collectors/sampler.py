"""One process that reads all probes at a steady pace and hands its readings over at the end.

Protocol: a job as one JSON line on stdin, ``ready`` on stdout, readings until stdin ends, then
everything as one JSON document on stdout. When the parent dies its end of the pipe closes and the
sampler ends by itself.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from llmbench import plugins
from llmbench.caveats import Caveat
from llmbench.collectors.base import Probe
from llmbench.errors import MeasurementError
from llmbench.record import Series

__all__ = ["Watched", "main", "watch"]

NICENESS = 5


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
def watch(collectors: Sequence[Any], pid: int) -> Iterator[Watched]:
    """Watch a process and its machine with these collectors (their options) meanwhile.

    Raises MeasurementError when the sampler cannot start or ends before its time.
    """
    watched = Watched()
    if not collectors:
        yield watched
        return
    job = {"pid": pid, "collectors": [options.model_dump() for options in collectors]}
    with subprocess.Popen(
        [sys.executable, "-m", "llmbench.collectors.sampler"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin, stdout = _pipes(process)
        stdin.write(json.dumps(job) + "\n")
        stdin.flush()
        if stdout.readline().strip() != "ready":
            raise MeasurementError(f"the sampler ended with exit code {process.wait()}")
        try:
            yield watched
        finally:
            stdin.close()
            _take(watched, stdout.read(), process)


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise MeasurementError("the sampler has no pipes")
    return process.stdin, process.stdout


def _take(watched: Watched, text: str, process: subprocess.Popen[str]) -> None:
    if process.wait() != 0:
        raise MeasurementError(f"the sampler ended with exit code {process.returncode}")
    told = json.loads(text)
    watched.absolute = tuple(
        Series(s["name"], s["unit"], s["source"], tuple(s["times"]), tuple(s["values"]))
        for s in told["series"]
    )
    watched.facts = told["facts"]
    watched.caveats = tuple(Caveat(**caveat) for caveat in told["caveats"])


# -- inside the sampler's process ------------------------------------------------------------------


@dataclass(slots=True)
class _Recorder:
    """The readings of one probe so far."""

    probe: Probe
    times: list[float] = field(default_factory=list)
    readings: list[Sequence[float | None]] = field(default_factory=list)

    def read(self) -> None:
        self.readings.append(self.probe.read())
        self.times.append(time.monotonic())

    def series(self) -> Iterator[Series]:
        for index, quantity in enumerate(self.probe.quantities()):
            if quantity.unavailable:
                yield Series.unavailable(quantity.name, quantity.unit, quantity.unavailable)
                continue
            values = [reading[index] for reading in self.readings]
            found = [(t, v) for t, v in zip(self.times, values, strict=True) if v is not None]
            if found:
                yield Series(quantity.name, quantity.unit, "measured", *zip(*found, strict=True))
            else:
                why = "no reading succeeded during this run"
                yield Series.unavailable(quantity.name, quantity.unit, why)


def main() -> int:
    """Sample until stdin ends."""
    job = json.loads(sys.stdin.readline())
    os.nice(NICENESS)
    recorders = [_Recorder(_open(told, job["pid"])) for told in job["collectors"]]
    print("ready", flush=True)  # noqa: T201 (the protocol)
    overruns = _sample(recorders, min(told["interval"] for told in job["collectors"]))
    json.dump(_told(recorders, overruns), sys.stdout)
    return 0


def _open(told: dict[str, Any], pid: int) -> Probe:
    part = plugins.find("collector", told["kind"])
    options = part.Options(**{key: value for key, value in told.items() if key != "kind"})
    probe: Probe = part(options).probe(pid)
    return probe


def _sample(recorders: list[_Recorder], interval: float) -> int:
    """Read at multiples of the interval, so that no delay adds up; return how many were missed."""
    began, tick, overruns = time.monotonic(), 1, 0
    while not select.select([sys.stdin], [], [], began + tick * interval - time.monotonic())[0]:
        for recorder in recorders:
            recorder.read()
        tick += 1
        late = int((time.monotonic() - began) / interval) + 1 - tick
        tick, overruns = tick + late, overruns + late
    return overruns


def _told(recorders: list[_Recorder], overruns: int) -> dict[str, Any]:
    conclusions = [recorder.probe.conclude() for recorder in recorders]
    facts = {key: value for c in conclusions for key, value in c.facts.items()}
    facts["sampler"] = {
        "samples": len(recorders[0].times),
        "overruns": overruns,
        "cpu_seconds": time.process_time(),
    }
    return {
        "series": [asdict(series) for recorder in recorders for series in recorder.series()],
        "facts": facts,
        "caveats": [asdict(caveat) for c in conclusions for caveat in c.caveats],
    }


if __name__ == "__main__":
    raise SystemExit(main())
