"""The hardware, system and software on which a run is measured.

A value that cannot be read is None, and ``reasons`` has the reason under its name. Of the
environment variables, only an allowlist without secrets is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from llmbench import __version__
from llmbench.environment import cgroups, hardware, nvml, software
from llmbench.environment.probing import Reader, read_text

__all__ = ["capture", "fingerprint", "flat", "usable_cores"]

FINGERPRINT_LENGTH = 12

# The facts that must match for timings of two machines to be comparable; those of GPUs are below.
COMPARABLE = (
    "cpu.model", "cpu.sockets", "cpu.physical_cores", "cpu.logical_cores", "cpu.usable_cores",
    "cpu.numa_nodes", "cpu.governor", "cpu.turbo", "cpu.smt", "memory.total_bytes",
    "system.machine", "system.virtual_machine", "container.cpu_limit_cores",
)  # fmt: skip
COMPARABLE_OF_GPU = ("name", "memory_bytes", "power_limit_watts", "ecc", "mig")


def capture(folder: Path, root: Path = Path("/")) -> dict[str, Any]:
    """Return the hardware, the system, package versions, settings, and the folder's git state.

    Takes a fraction of a second and imports none of the packages. ``root`` is the folder that
    contains proc and sys.
    """
    reader = Reader()
    return {
        "llmbench": __version__,
        "cpu": reader.read_all("cpu", hardware.cpu_readers(root)),
        "memory": reader.read_all("memory", hardware.memory_readers(root)),
        "gpus": reader.read("gpus", lambda: nvml.describe_gpus(nvml.open_nvml(), reader)),
        "system": _system(reader, root),
        "container": _container(reader, root, _membership(reader, root)),
        "packages": reader.read_all("packages", software.package_readers()),
        "threads": reader.read_all("threads", software.thread_readers()),
        "variables": {name: os.environ.get(name) for name in software.VARIABLES},
        "git": reader.read_all("git", software.git_readers(folder)),
        "reasons": reader.reasons,
    }


def _system(reader: Reader, root: Path) -> dict[str, Any]:
    return {
        "os": platform.platform(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "virtual_machine": reader.read("system.virtual_machine", lambda: hardware.is_virtual(root)),
    }


def _membership(reader: Reader, root: Path) -> str:
    return reader.read("container.group", lambda: read_text(root / "proc/self/cgroup")) or ""


def _container(reader: Reader, root: Path, membership: str) -> dict[str, Any]:
    limits = cgroups.limit_readers(root / cgroups.ROOT.relative_to("/"), membership)
    kind = {"kind": lambda: hardware.container_kind(root, membership)}
    return reader.read_all("container", kind | limits)


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use: those that its quota allows, or all."""
    cores, reader = len(os.sched_getaffinity(0)), Reader()
    quota = _container(reader, root, _membership(reader, root))["cpu_limit_cores"]
    return max(1, min(cores, int(quota or cores)))


def flat(environment: dict[str, Any]) -> dict[str, Any]:
    """Return an environment's values by dotted name (``gpus.0.name``), without ``reasons``."""
    parts = {name: value for name, value in environment.items() if name != "reasons"}
    return dict(_leaves("", parts))


def _leaves(prefix: str, value: Any) -> list[tuple[str, Any]]:
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(inner, dict) or not inner:
        return [(prefix, value)]
    dot = "." if prefix else ""
    return [leaf for key, child in inner.items() for leaf in _leaves(f"{prefix}{dot}{key}", child)]


def fingerprint(environment: dict[str, Any]) -> str:
    """Return a short hash of the hardware, equal for runs on comparable hardware.

    It covers models, counts, limits and clock settings of CPUs, memory and GPUs, but no device ids,
    no software, and nothing that changes from minute to minute. Memory is rounded to GiB, since
    kernels reserve a varying amount.
    """
    values = flat(environment)
    hashed = {name: values.get(name) for name in COMPARABLE}
    hashed["memory.total_bytes"] = round((hashed["memory.total_bytes"] or 0) / 2**30)
    gpus = environment.get("gpus") or []
    hashed["gpus"] = [{name: gpu.get(name) for name in COMPARABLE_OF_GPU} for gpu in gpus]
    text = json.dumps(hashed, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_LENGTH]
