"""CPU time and memory, of the process under test and of the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from pydantic import Field

from llmbench.collectors import proc
from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.environment import child_process
from llmbench.environment.probing import read_text, why_unavailable
from llmbench.runs.caveats import Caveat
from llmbench.units import Seconds

OTHER_LOAD_PERCENT = 10.0
STOLEN_PERCENT = 5.0
THROTTLED_PERCENT = 1.0
SAME = "the measuring process is the process under test"
NO_CLOCKS = "the kernel reports no clock frequencies (cpufreq) on this machine"


class Cpu(Collector):
    """CPU time and memory of the process under test, and CPU use by everything else.

    CPU time readings cover the time since the previous reading. The kernel counts in ticks of 10
    ms, so single readings are coarse and only their mean is accurate. The process includes all its
    descendants except the sampler.
    """

    class Options(CollectorOptions):
        """``{kind: cpu, interval: 200 ms}``: one reading spans twenty kernel ticks."""

        interval: Seconds = Field(default=0.2, ge=0.01, description="time between readings")

    options: Options

    def probe(self, pid: int) -> CpuProbe:
        """Open a probe of the process under test and of this machine."""
        own = child_process.parent_pid()  # the measuring process starts the sampler
        return CpuProbe(pid, harness_pid=None if own == pid else own)


class Shares(NamedTuple):
    """CPU use over a time span, in percent.

    ``process`` is relative to one core; ``system``, ``other`` and ``stolen`` are relative to all
    cores. ``pressure`` is the share of the time span in which some task waited for a core.
    """

    process: float
    system: float
    other: float
    stolen: float
    pressure: float | None


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Elapsed time and CPU times in seconds since an arbitrary origin.

    ``harness`` is the sampler, plus the client if that is another process. ``busy`` is the whole
    machine's CPU time; ``stolen`` is steal time, which the host of a virtual machine gave to
    other guests; ``waited`` is the time in which some task waited for a core.
    """

    now: float
    process: float
    harness: float
    busy: float
    stolen: float
    waited: float | None

    def shares_since(self, before: CpuTimes, cores: int) -> Shares:
        """Return CPU use since an earlier reading, in percent."""
        elapsed = self.now - before.now
        process, busy = self.process - before.process, self.busy - before.busy
        other = busy - process - (self.harness - before.harness)
        core_seconds = elapsed * cores
        return Shares(
            process=100 * process / elapsed,
            system=100 * busy / core_seconds,
            other=max(0.0, 100 * other / core_seconds),
            stolen=100 * (self.stolen - before.stolen) / core_seconds,
            pressure=_percent(self.waited, before.waited, elapsed),
        )


def _percent(end: float | None, begin: float | None, elapsed: float) -> float | None:
    return None if end is None or begin is None else 100 * (end - begin) / elapsed


class CpuProbe(Probe):
    """Reads CPU time and memory from /proc and /sys, partly through psutil.

    ``proc_folder`` and ``sys_folder`` are parameters so that tests can replace them.
    ``harness_pid`` is the measuring process if that is an ancestor of the process under test: its
    CPU time does not count as other load.
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
        self._no_pressure = why_unavailable(lambda: read_text(self._pressure))

    def quantities(self) -> Sequence[Quantity]:
        """Return the CPU and memory quantities, in the order of readings."""
        no_clocks = None if self._frequencies else NO_CLOCKS
        return (
            Quantity("process_cpu_percent", "% of a core"),
            Quantity("system_cpu_percent", "% of all cores"),
            Quantity("other_cpu_percent", "% of all cores"),
            Quantity("stolen_cpu_percent", "% of all cores"),
            Quantity("cpu_pressure_percent", "% of time", self._no_pressure),
            Quantity("cpu_frequency_hertz", "Hz", no_clocks),
            Quantity("process_rss_bytes", "B"),
            Quantity("tree_rss_bytes", "B"),
            Quantity("harness_rss_bytes", "B", None if self._harness else SAME),
        )

    def begin(self) -> None:
        """Reset the process's peak memory and record the initial counters."""
        since_load = proc.reset_rss_peak(self._process)
        self._peak_since = "start of the load" if since_load else "start of the process"
        self._switches = proc.involuntary_switches(self._process)
        self._throttled = self._throttled_seconds()
        self._first = self._before = self._cpu_times()

    def read(self) -> Sequence[float | None]:
        """Return CPU use since the last reading, and the current clock frequency and memory."""
        after = self._cpu_times()
        shares = after.shares_since(self._before, self._cores)
        self._before = after
        clocks = proc.mean_frequency(self._frequencies) if self._frequencies else None
        return (*shares, clocks, self._psutil.memory_info().rss, *self._memory(after.now))

    def _memory(self, now: float) -> tuple[int, int | None]:
        """Return the memory of the tree under test, and that of the processes that measure it."""
        tree = self._tree.rss_bytes(now)
        return tree, self._harness.rss_bytes(now) - tree if self._harness else None

    def conclude(self) -> Conclusion:
        """Return peak memory, and other load, steal time and throttling over the whole window."""
        last = self._cpu_times()
        shares = last.shares_since(self._first, self._cores)
        throttled = _percent(self._throttled_seconds(), self._throttled, last.now - self._first.now)
        facts: dict[str, Any] = {
            "rss_peak_bytes": proc.rss_peak(self._process),
            "rss_peak_since": self._peak_since,
            "process_cpu_seconds": last.process - self._first.process,
            "other_load_percent": shares.other,
            "stolen_percent": shares.stolen,
            "quota_held_percent": throttled,
            "involuntary_switches": proc.involuntary_switches(self._process) - self._switches,
        }
        return Conclusion(facts, tuple(_caveats(shares, throttled)))

    def _cpu_times(self) -> CpuTimes:
        system, now = psutil.cpu_times(), time.monotonic()
        process = self._tree.cpu_seconds(now)
        client = self._harness.cpu_seconds(now) - process if self._harness else 0.0
        pressure = None if self._no_pressure else self._pressure.read_text()
        return CpuTimes(
            now=now,
            process=process,
            harness=time.process_time() + client,
            busy=proc.busy_seconds(system),
            stolen=system.steal,
            waited=None if pressure is None else proc.pressure_seconds(pressure),
        )

    def _throttled_seconds(self) -> float | None:
        membership = (self._process / "cgroup").read_text()
        return proc.quota_throttled_seconds(membership, self._groups)


def _caveats(shares: Shares, throttled: float | None) -> Iterator[Caveat]:
    if shares.other > OTHER_LOAD_PERCENT:
        yield Caveat("other-load", percent=shares.other)
    if shares.stolen > STOLEN_PERCENT:
        yield Caveat("cpu-stolen", percent=shares.stolen)
    if throttled is not None and throttled > THROTTLED_PERCENT:
        yield Caveat("cpu-quota", percent=throttled)
