"""Processor time and memory, of the process under test and of the machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from llmbench.caveats import Caveat
from llmbench.collectors.base import CollectorOptions, Conclusion, Quantity

__all__ = ["Cpu", "CpuProbe"]

OTHER_LOAD_SHARE = 0.10

QUANTITIES = (
    Quantity("process_cpu_percent", "% of a core"),
    Quantity("system_cpu_percent", "% of all cores"),
    Quantity("other_cpu_percent", "% of all cores"),
    Quantity("process_rss_bytes", "B"),
)


class Cpu:
    """Processor time and memory of the process under test, and what else used the machine."""

    class Options(CollectorOptions):
        """``{kind: cpu, interval: 100 ms}``."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def probe(self, pid: int) -> CpuProbe:
        """Open the probe."""
        return CpuProbe(pid)


@dataclass(frozen=True, slots=True)
class _Clocked:
    """Seconds since some origin: real time, and processor time of whom."""

    now: float
    process: float
    sampler: float
    busy: float

    def shares(self, before: _Clocked, cores: int) -> tuple[float, float, float]:
        """Percentages since an earlier reading: process of a core, system and others of all."""
        elapsed = self.now - before.now
        process, busy = self.process - before.process, self.busy - before.busy
        others = max(0.0, busy - process - (self.sampler - before.sampler))
        whole = elapsed * cores
        return 100 * process / elapsed, 100 * busy / whole, 100 * others / whole


class CpuProbe:
    """Reads /proc through psutil; each reading covers the time since the one before."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._cores = psutil.cpu_count() or 1
        self._peak_since = _reset_peak(pid)
        self._first = self._before = self._clocked()

    def quantities(self) -> Sequence[Quantity]:
        """List what each reading holds."""
        return QUANTITIES

    def read(self) -> Sequence[float | None]:
        """Read the shares since the last reading and the memory now."""
        try:
            after, rss = self._clocked(), self._process.memory_info().rss
        except psutil.NoSuchProcess:
            return [None] * len(QUANTITIES)
        if after.now == self._before.now:
            return [None, None, None, rss]
        shares = after.shares(self._before, self._cores)
        self._before = after
        return [*shares, rss]

    def conclude(self) -> Conclusion:
        """Give the memory peak and the load that others put on the machine."""
        _, _, others = self._before.shares(self._first, self._cores) if self._elapsed else (0, 0, 0)
        facts = {
            "rss_peak_bytes": _peak(self._process.pid),
            "rss_peak_since": self._peak_since,
            "other_load_percent": others if self._elapsed else None,
        }
        contaminated = others > 100 * OTHER_LOAD_SHARE
        return Conclusion(facts, (_other_load(others),) if contaminated else ())

    @property
    def _elapsed(self) -> float:
        return self._before.now - self._first.now

    def _clocked(self) -> _Clocked:
        times, system = self._process.cpu_times(), psutil.cpu_times()
        idle = system.idle + system.iowait
        guest = system.guest + system.guest_nice  # counted in user as well
        return _Clocked(
            now=time.monotonic(),
            process=times.user + times.system,
            sampler=time.process_time(),
            busy=sum(system) - idle - guest - system.steal,
        )


def _other_load(percent: float) -> Caveat:
    return Caveat(
        "other-load",
        f"Other programs used {percent:.0f} % of the machine's processors during this run.",
        "Its times may be too long; stop what else is running and measure again.",
    )


def _reset_peak(pid: int) -> str:
    """Make the kernel forget the memory peak so far; say since when the peak counts."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return "start of the process"
    return "start of the load"


def _peak(pid: int) -> int | None:
    """Read the peak resident memory in bytes (VmHWM, which the kernel gives in KiB)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024 if "VmHWM" in fields else None
