"""Properties of CPUs and memory from /proc and /sys, and the container engine of this process."""

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
        "model": lambda: _cpuinfo(root, "model name")[0],
        "sockets": lambda: len(set(_cpuinfo(root, "physical id"))),
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


def _cpuinfo(root: Path, field: str) -> list[str]:
    """Return a field of /proc/cpuinfo for each logical CPU; raises Unavailable if it is absent."""
    text = read_text(root / "proc/cpuinfo")
    if not (values := re.findall(rf"^{field}[ \t]*:[ \t]*(.*)$", text, re.MULTILINE)):
        raise Unavailable(f"/proc/cpuinfo has no {field}")
    return values


def cpu_range(text: str) -> int:
    """Return the number of entries in a kernel list of CPUs or nodes such as ``0-3,8,10-11``."""
    ends = [part.partition("-") for part in text.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _governors(cpu: Path) -> str:
    """Return the CPU frequency governors in use (usually one), comma-separated."""
    files = sorted(cpu.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    if not files:
        raise Unavailable("the kernel shows no CPU frequency governor, as in most virtual machines")
    return ", ".join(sorted({read_text(file) for file in files}))


def _turbo(cpu: Path) -> bool:
    """Return whether turbo frequencies are enabled."""
    intel, generic = cpu / "intel_pstate/no_turbo", cpu / "cpufreq/boost"
    if intel.exists():
        return read_text(intel) == "0"
    if generic.exists():
        return read_text(generic) == "1"
    raise Unavailable("the kernel shows no turbo setting, as in most virtual machines")


def _bracketed(text: str) -> str:
    """Return the word in brackets, e.g. ``madvise`` from ``always [madvise] never``."""
    if not (match := re.search(r"\[(\w+)\]", text)):
        raise Unavailable(f"expected the selected setting in brackets, found {text!r}")
    return match[1]


def is_virtual(root: Path) -> bool:
    """Return whether this is a virtual machine, by the CPU's hypervisor flag (x86 only)."""
    return "hypervisor" in _cpuinfo(root, "flags")[0].split()


def container_kind(root: Path, membership: str) -> str:
    """Return the container engine's name, or raise Unavailable if nothing indicates a container."""
    kinds = [kind for mark, kind in MARKS.items() if (root / mark).exists()]
    kinds += [kind for kind in ("kubepods", "docker", "lxc", "libpod") if kind in membership]
    if not kinds:
        raise Unavailable("no sign of a container")
    return kinds[0]
