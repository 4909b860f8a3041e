"""What a container or a service manager allows: control groups, versions 1 and 2.

A limit may be set on the group of a process or on any group around it; the tightest holds.
Formats: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmbench.environment.probing import read_text
from llmbench.errors import Unavailable

ROOT = Path("/sys/fs/cgroup")
UNLIMITED_BYTES = 2**60  # version 1 says "no limit" with a huge number that depends on page size


def questions(root: Path, membership: str) -> dict[str, Callable[[], Any]]:
    """List what can be asked of the control groups under ``root`` (text of /proc/self/cgroup)."""
    return {
        "cpu_limit_cores": lambda: cpu_limit(groups("cpu", root, membership)),
        "memory_limit_bytes": lambda: memory_limit(groups("memory", root, membership)),
    }


def memberships(text: str) -> dict[str, str]:
    """Read ``/proc/<pid>/cgroup``: controller to group, ``""`` for that of version 2."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        found |= dict.fromkeys(controllers.split(","), group)
    return found


def groups(controller: str, root: Path, membership: str) -> list[Path]:
    """Give the folders of a process's group and of those around it, the innermost first.

    Inside a container the named group may lie outside what is mounted; the mount's own root then
    is the innermost that can be seen.
    """
    unified = (root / "cgroup.controllers").exists()
    mount = root if unified else root / controller
    own = memberships(membership).get("" if unified else controller, "/").strip("/")
    inner = mount if ".." in own.split("/") else mount / own
    around = [inner, *inner.parents]
    return [folder for folder in around[: around.index(mount) + 1] if folder.is_dir()]


def cpu_limit(folders: list[Path]) -> float:
    """Give the tightest quota in cores. Raises Unavailable where none is set."""
    quotas = [quota for folder in folders for quota in _quotas(folder)]
    if not quotas:
        raise Unavailable("no limit is set")
    return min(quotas)


def _quotas(folder: Path) -> list[float]:
    """Read ``cpu.max`` (``max 100000`` or ``200000 100000``), or version 1's pair of files."""
    if (folder / "cpu.max").exists():
        quota, period = read_text(folder / "cpu.max").split()
    elif (folder / "cpu.cfs_quota_us").exists():
        quota = read_text(folder / "cpu.cfs_quota_us")
        period = read_text(folder / "cpu.cfs_period_us")
    else:  # the root of version 2 has no limits
        return []
    return [] if quota in ("max", "-1") else [int(quota) / int(period)]


def memory_limit(folders: list[Path]) -> int:
    """Give the tightest memory limit in bytes. Raises Unavailable where none is set."""
    limits = [limit for folder in folders for limit in _memory_limits(folder)]
    if not limits:
        raise Unavailable("no limit is set")
    return min(limits)


def _memory_limits(folder: Path) -> list[int]:
    files = [folder / "memory.max", folder / "memory.limit_in_bytes"]
    texts = [read_text(file) for file in files if file.exists()]
    limits = [int(text) for text in texts if text != "max"]
    return [limit for limit in limits if limit < UNLIMITED_BYTES]
