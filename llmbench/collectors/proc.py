"""CPU time, memory, pressure and throttling from /proc and control groups.

Sources: proc(5), and the kernel's Documentation/accounting/psi.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil

from llmbench.environment import cgroups
from llmbench.environment.probing import read_text

TREE_SECONDS = 1.0
TREE_SHARE = 0.005
FREQUENCY_FILES = 16


class Tree:
    """A process and its descendants, except the sampler.

    Listing them scans all of /proc, so the list is refreshed at most once per second, and less
    often if that would use more than 0.5 % of a core. No CPU time is lost in between: that of an
    exited descendant is added to its parent.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._members: list[psutil.Process] = []
        self._next = float("-inf")

    def cpu_seconds(self, now: float) -> float:
        """Return the tree's CPU time in seconds; raise psutil.NoSuchProcess if the root exited."""
        self._list(now)
        return _cpu_seconds(self._root) + sum(map(_cpu_seconds_so_far, self._members))

    def rss_bytes(self, now: float) -> int:
        """Return the sum of the resident memory of the tree; pages that are shared count twice."""
        self._list(now)
        return int(self._root.memory_info().rss) + sum(map(_rss_so_far, self._members))

    def pids(self, now: float) -> frozenset[int]:
        """Return the ids of all processes in the tree."""
        self._list(now)
        return frozenset({self._root.pid, *(member.pid for member in self._members)})

    def _list(self, now: float) -> None:
        if now < self._next:
            return
        before = time.thread_time()
        descendants = self._root.children(recursive=True)
        self._members = [process for process in descendants if process.pid != os.getpid()]
        self._next = now + max(TREE_SECONDS, (time.thread_time() - before) / TREE_SHARE)


def _cpu_seconds(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:4]))


def _cpu_seconds_so_far(process: psutil.Process) -> float:
    try:
        return _cpu_seconds(process)
    except psutil.NoSuchProcess:  # it exited; its time was added to its parent's
        return 0.0


def _rss_so_far(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # it exited, and its memory is free
        return 0


def busy_seconds(times: Any) -> float:
    """Return the machine's total busy CPU time in seconds, from ``psutil.cpu_times()``."""
    guest = times.guest + times.guest_nice  # already included in user
    return float(sum(times) - times.idle - times.iowait - guest - times.steal)


def field_number(text: str, name: str) -> int | None:
    """Return the number in a line such as ``VmHWM:  1024 kB`` or ``nr_throttled 3``."""
    for line in text.splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[0] == name:
            return int(words[1])
    return None


def pressure_seconds(text: str) -> float:
    """Return the seconds since boot in which some task waited for a core.

    ``text`` is that of ``/proc/pressure/cpu``. Raise ValueError if it has no line ``some``.
    """
    for line in text.splitlines():
        kind, _, fields = line.partition(" ")
        if kind == "some":
            return int(fields.rpartition("total=")[2]) / 1e6
    raise ValueError(f"expected a line 'some ... total=...', got {text!r}")


def involuntary_switches(process: Path) -> int:
    """Return the number of involuntary context switches of all threads of ``/proc/<pid>``.

    Counts of exited threads are lost.
    """
    return sum(map(_switches, process.glob("task/*/status")))


def _switches(status: Path) -> int:
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):  # the thread exited in the meantime
        return 0
    return field_number(text, "nonvoluntary_ctxt_switches") or 0


def reset_rss_peak(process: Path) -> bool:
    """Reset the peak memory of ``/proc/<pid>``; return whether the kernel permits that."""
    try:
        (process / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def rss_peak(process: Path) -> int | None:
    """Return the peak resident memory in bytes (VmHWM itself is in KiB)."""
    kibibytes = field_number(read_text(process / "status"), "VmHWM")
    return None if kibibytes is None else kibibytes * 1024


def frequency_files(cpufreq: Path) -> list[Path]:
    """Return at most 16 of the files with current clock frequencies, since reads take time."""
    files = sorted(cpufreq.glob("policy*/scaling_cur_freq"))
    step = max(1, len(files) // FREQUENCY_FILES)
    return files[::step][:FREQUENCY_FILES]


def mean_frequency(files: list[Path]) -> float:
    """Return the mean clock frequency in Hz (the files are in kHz)."""
    return sum(int(file.read_text()) for file in files) / len(files) * 1e3


def quota_throttled_seconds(membership: str, root: Path) -> float | None:
    """Return the seconds for which CPU quotas have throttled a process, by its control groups.

    ``membership`` is the text of ``/proc/<pid>/cgroup``, ``root`` the cgroup mount. Version 2
    counts microseconds, version 1 nanoseconds. None if no group counts throttling.
    """
    groups = cgroups.groups("cpu", root, membership)
    throttled = [_throttled_seconds(folder / "cpu.stat") for folder in groups]
    return max((seconds for seconds in throttled if seconds is not None), default=None)


def _throttled_seconds(stat: Path) -> float | None:
    if not stat.exists():
        return None
    text = stat.read_text(encoding="utf-8")
    for name, unit in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):
        count = field_number(text, name)
        if count is not None:
            return count * unit
    return None
