"""Properties of the CPUs and memory, from /proc and /sys, and the container of this process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from llmbench.environment.probing import read_text
from llmbench.errors import Unavailable

# Marker files of container engines.
MARKS = {".dockerenv": "docker", "run/.containerenv": "podman"}


def cpu_readers(root: Path) -> dict[str, Callable[[], Any]]:
    """Return readers of CPU properties; ``root`` is the folder that contains proc and sys."""
    cpu = root / "sys/devices/system/cpu"
    return {
        "model": lambda: _cpu_model(read_text(root / "proc/cpuinfo")),
        "sockets": lambda: _sockets(read_text(root / "proc/cpuinfo")),
        "physical_cores": lambda: psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count,
        "usable_cores": lambda: len(os.sched_getaffinity(0)),
        "numa_nodes": lambda: cpu_range(read_text(root / "sys/devices/system/node/online")),
        "governor": lambda: _governors(cpu),
        "turbo": lambda: _turbo(cpu),
        "smt": lambda: read_text(cpu / "smt/active") == "1",
    }


def memory_readers(root: Path) -> dict[str, Callable[[], Any]]:
    """Return readers of the memory size and the transparent-hugepage setting."""
    pages = root / "sys/kernel/mm/transparent_hugepage/enabled"
    return {
        "total_bytes": lambda: psutil.virtual_memory().total,
        "transparent_hugepages": lambda: _bracketed(read_text(pages)),
    }


def _cpu_model(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    raise Unavailable("/proc/cpuinfo has no model name")


def _sockets(cpuinfo: str) -> int:
    packages = set(re.findall(r"^physical id\s*:\s*(\d+)", cpuinfo, re.MULTILINE))
    if not packages:
        raise Unavailable("/proc/cpuinfo has no physical ids")
    return len(packages)


def cpu_range(text: str) -> int:
    """Return the number of CPUs or nodes in a kernel list such as ``0-3,8,10-11``."""
    ends = [part.partition("-") for part in text.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _governors(cpu: Path) -> str:
    """Return the names of the CPU frequency governors in use, usually one."""
    files = sorted(cpu.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    if not files:
        raise Unavailable("the kernel shows no CPU frequency governor, as in most virtual machines")
    return ", ".join(sorted({read_text(file) for file in files}))


def _turbo(cpu: Path) -> bool:
    """Return whether the kernel lets the CPUs use turbo frequencies."""
    intel, generic = cpu / "intel_pstate/no_turbo", cpu / "cpufreq/boost"
    if intel.exists():
        return read_text(intel) == "0"
    if generic.exists():
        return read_text(generic) == "1"
    raise Unavailable("the kernel shows no turbo setting, as in most virtual machines")


def _bracketed(text: str) -> str:
    """Return the selected word, e.g. ``madvise`` in ``always [madvise] never``."""
    match = re.search(r"\[(\w+)\]", text)
    if not match:
        raise Unavailable(f"no choice is marked by brackets in {text!r}")
    return match.group(1)


def is_virtual(root: Path) -> bool:
    """Return whether this is a virtual machine, by the CPU's hypervisor flag (x86 only)."""
    cpuinfo = read_text(root / "proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    if not flags:
        raise Unavailable("/proc/cpuinfo has no flags")
    return "hypervisor" in flags.group(1).split()


def container_kind(root: Path, membership: str) -> str:
    """Return the container engine's name, or raise Unavailable if nothing indicates a container."""
    for mark, kind in MARKS.items():
        if (root / mark).exists():
            return kind
    for kind in ("kubepods", "docker", "lxc", "libpod"):
        if kind in membership:
            return kind
    raise Unavailable("no sign of a container")
