"""Processor time and memory, of the process under test and of the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field

from llmbench.collectors import proc
from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Quantity
from llmbench.environment.probing import read_text
from llmbench.errors import Unavailable
from llmbench.runs.caveats import Caveat
from llmbench.units import Seconds

OTHER_LOAD_PERCENT = 10.0
STOLEN_PERCENT = 5.0
HELD_PERCENT = 1.0


class Cpu(Collector):
    """Processor time and memory of the process under test, and what else used the machine.

    Readings of processor time cover the time since the one before. The kernel counts it in ticks
    of 10 ms, so one reading is a rough figure and their average a good one. The process counts
    with all its descendants but the sampler.
    """

    class Options(CollectorOptions):
        """``{kind: cpu, interval: 200 ms}``: a reading is of twenty ticks."""

        interval: Seconds = Field(default=0.2, ge=0.01, description="between readings")

    options: Options

    def probe(self, pid: int) -> CpuProbe:
        """Open the probe."""
        own = os.getppid()  # the sampler is a child of the process that measures
        return CpuProbe(pid, harness_pid=None if own == pid else own)


@dataclass(frozen=True, slots=True)
class Shares:
    """Percentages of a stretch of time: the process of one core, the rest of all cores."""

    process: float
    system: float
    other: float
    stolen: float
    pressure: float | None


@dataclass(frozen=True, slots=True)
class Clocked:
    """Seconds since some origin: real time, and processor time of whom.

    ``harness`` is the sampler, and a client that is not the process itself. ``busy`` is all
    processor time that this machine spent; ``stolen`` is what a virtual machine wanted and its
    host gave to others; ``waited`` is when some task waited for a core.
    """

    now: float
    process: float
    harness: float
    busy: float
    stolen: float
    waited: float | None

    def shares_since(self, before: Clocked, cores: int) -> Shares:
        """Give percentages of the time since an earlier reading."""
        elapsed = self.now - before.now
        process, busy = self.process - before.process, self.busy - before.busy
        other = busy - process - (self.harness - before.harness)
        whole = elapsed * cores
        return Shares(
            process=100 * process / elapsed,
            system=100 * busy / whole,
            other=max(0.0, 100 * other / whole),
            stolen=100 * (self.stolen - before.stolen) / whole,
            pressure=_percent(self.waited, before.waited, elapsed),
        )


def _percent(end: float | None, begin: float | None, elapsed: float) -> float | None:
    return None if end is None or begin is None else 100 * (end - begin) / elapsed


class CpuProbe:
    """Reads /proc and /sys, in part through psutil; the folders are where these two lie.

    ``harness_pid`` is the process that measures, an ancestor of the one under test, where the two
    are not the same: its own time is nobody else's.
    """

    def __init__(
        self,
        pid: int,
        proc_folder: Path = Path("/proc"),
        sys_folder: Path = Path("/sys"),
        harness_pid: int | None = None,
    ) -> None:
        self._harness = None if harness_pid is None else proc.Tree(harness_pid)
        self._process = proc_folder / str(pid)
        self._psutil = psutil.Process(pid)
        self._tree = proc.Tree(pid)
        self._cores = psutil.cpu_count() or 1
        self._groups = sys_folder / "fs/cgroup"
        self._pressure = proc_folder / "pressure/cpu"
        self._frequencies = proc.frequency_files(sys_folder / "devices/system/cpu/cpufreq")
        self._why_no_pressure = _why_unreadable(self._pressure)

    def quantities(self) -> Sequence[Quantity]:
        """List what each reading holds."""
        no_clocks = None if self._frequencies else "the kernel shows no cpufreq here"
        return (
            Quantity("process_cpu_percent", "% of a core"),
            Quantity("system_cpu_percent", "% of all cores"),
            Quantity("other_cpu_percent", "% of all cores"),
            Quantity("stolen_cpu_percent", "% of all cores"),
            Quantity("cpu_pressure_percent", "% of time", self._why_no_pressure),
            Quantity("cpu_frequency_hertz", "Hz", no_clocks),
            Quantity("process_rss_bytes", "B"),
        )

    def begin(self) -> None:
        """Forget the memory peak so far and note where the counters stand."""
        since_load = proc.reset_rss_peak(self._process)
        self._peak_since = "start of the load" if since_load else "start of the process"
        self._switches = proc.involuntary_switches(self._process)
        self._held = self._held_seconds()
        self._first = self._before = self._clocked()

    def read(self) -> Sequence[float | None]:
        """Read the shares since the last reading, and clocks and memory now."""
        after = self._clocked()
        shares = after.shares_since(self._before, self._cores)
        self._before = after
        return (
            shares.process,
            shares.system,
            shares.other,
            shares.stolen,
            shares.pressure,
            proc.mean_frequency(self._frequencies) if self._frequencies else None,
            self._psutil.memory_info().rss,
        )

    def conclude(self) -> Conclusion:
        """Give the memory peak, and what others did to the process over the whole window."""
        last = self._clocked()
        shares = last.shares_since(self._first, self._cores)
        held = _percent(self._held_seconds(), self._held, last.now - self._first.now)
        facts: dict[str, Any] = {
            "rss_peak_bytes": proc.rss_peak(self._process),
            "rss_peak_since": self._peak_since,
            "process_cpu_seconds": last.process - self._first.process,
            "other_load_percent": shares.other,
            "stolen_percent": shares.stolen,
            "quota_held_percent": held,
            "involuntary_switches": proc.involuntary_switches(self._process) - self._switches,
        }
        return Conclusion(facts, tuple(_doubts(shares, held)))

    def _clocked(self) -> Clocked:
        system, now = psutil.cpu_times(), time.monotonic()
        process = self._tree.cpu_seconds(now)
        client = self._harness.cpu_seconds(now) - process if self._harness else 0.0
        return Clocked(
            now=now,
            process=process,
            harness=time.process_time() + client,
            busy=proc.busy_seconds(system),
            stolen=system.steal,
            waited=self._waited(),
        )

    def _waited(self) -> float | None:
        if self._why_no_pressure:
            return None
        return proc.pressure_seconds(self._pressure.read_text())

    def _held_seconds(self) -> float | None:
        membership = (self._process / "cgroup").read_text()
        return proc.quota_held_seconds(membership, self._groups)


def _why_unreadable(path: Path) -> str | None:
    try:
        read_text(path)
    except Unavailable as why:
        return str(why)
    return None


def _doubts(shares: Shares, held: float | None) -> Iterator[Caveat]:
    if shares.other > OTHER_LOAD_PERCENT:
        yield Caveat("other-load", percent=shares.other)
    if shares.stolen > STOLEN_PERCENT:
        yield Caveat("cpu-stolen", percent=shares.stolen)
    if held is not None and held > HELD_PERCENT:
        yield Caveat("cpu-quota", percent=held)
