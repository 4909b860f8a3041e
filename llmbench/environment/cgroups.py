"""CPU and memory limits of a container or service, from control groups (cgroups v1 and v2).

A limit may be set on a process's group or on any ancestor; the lowest applies. Sources: the
kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from llmbench.environment.probing import read_text
from llmbench.errors import Unavailable

ROOT = Path("/sys/fs/cgroup")
UNLIMITED_BYTES = 2**60  # version 1 encodes "no limit" as a number of about 2**63

T = TypeVar("T", int, float)


def limit_readers(root: Path, membership: str) -> dict[str, Callable[[], Any]]:
    """Return readers of CPU and memory limits; ``membership`` is the text of /proc/self/cgroup."""
    return {
        "cpu_limit_cores": lambda: cpu_limit(groups("cpu", root, membership)),
        "memory_limit_bytes": lambda: memory_limit(groups("memory", root, membership)),
    }


def memberships(text: str) -> dict[str, str]:
    """Return the group path by controller (``""`` in version 2), from ``/proc/<pid>/cgroup``."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    return {name: group for _, names, group in lines for name in names.split(",")}


def groups(controller: str, root: Path, membership: str) -> list[Path]:
    """Return the folders of a process's control group and its ancestors, innermost first.

    In a container the group may lie outside the mount; the innermost visible folder is then the
    root of the mount.
    """
    unified = (root / "cgroup.controllers").exists()
    mount = root if unified else root / controller
    own = memberships(membership).get("" if unified else controller, "/").strip("/")
    inner = mount if ".." in own.split("/") else mount / own
    parents = [inner, *inner.parents]
    return [folder for folder in parents[: parents.index(mount) + 1] if folder.is_dir()]


def cpu_limit(folders: list[Path]) -> float:
    """Return the lowest CPU quota in cores, or raise Unavailable if none is set."""
    return _lowest([quota for folder in folders for quota in _quotas(folder)])


def memory_limit(folders: list[Path]) -> int:
    """Return the lowest memory limit in bytes, or raise Unavailable if none is set."""
    return _lowest([limit for folder in folders for limit in _memory_limits(folder)])


def _lowest(limits: list[T]) -> T:
    if not limits:
        raise Unavailable("no limit is set")
    return min(limits)


def _quotas(folder: Path) -> list[float]:
    """Return a group's CPU quota in cores as a list, empty if there is none."""
    if (folder / "cpu.max").exists():
        quota, period = read_text(folder / "cpu.max").split()
    elif (folder / "cpu.cfs_quota_us").exists():
        quota = read_text(folder / "cpu.cfs_quota_us")
        period = read_text(folder / "cpu.cfs_period_us")
    else:  # version 2's root group has no limits
        return []
    return [] if quota in ("max", "-1") else [int(quota) / int(period)]


def _memory_limits(folder: Path) -> list[int]:
    files = [folder / "memory.max", folder / "memory.limit_in_bytes"]
    texts = [read_text(file) for file in files if file.exists()]
    return [int(text) for text in texts if text != "max" and int(text) < UNLIMITED_BYTES]
