"""What machine and software a run was measured on.

A value that cannot be read is None, and ``reasons`` has under its name why. Nothing secret is
read: of the environment's variables only a short list is kept.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from llmbench import __version__

__all__ = ["PACKAGES", "VARIABLES", "capture", "flat"]

PACKAGES = (
    "torch", "transformers", "tokenizers", "numpy", "pandas", "pyarrow", "safetensors",
    "nvidia-ml-py", "onnxruntime", "onnxruntime-gpu", "torchao", "ray",
)  # fmt: skip

VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER", "PYTORCH_ALLOC_CONF", "TORCHINDUCTOR_CACHE_DIR", "HF_HUB_OFFLINE",
)  # fmt: skip

CPU = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")


class Missing(Exception):  # noqa: N818 (not an error: a value that is not to be had here)
    """Why a value cannot be read."""


def capture(folder: Path) -> dict[str, Any]:
    """Read the hardware, the system, library versions, settings, and git of a folder."""
    reasons: dict[str, str] = {}

    def read(name: str, how: Callable[[], Any]) -> Any:
        try:
            return how()
        except (Missing, OSError) as error:
            reasons[name] = str(error)
            return None

    return {
        "llmbench": __version__,
        "cpu": {name: read(f"cpu.{name}", how) for name, how in _cpu().items()},
        "memory": {"total_bytes": psutil.virtual_memory().total},
        "gpus": read("gpus", _gpus),
        "system": {
            "os": platform.platform(),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "load_average": os.getloadavg()[0],
        },
        "container": {
            name: read(f"container.{name}", how) for name, how in _container(CGROUP).items()
        },
        "packages": {name: read(f"packages.{name}", _version_of(name)) for name in PACKAGES},
        "variables": {name: os.environ.get(name) for name in VARIABLES},
        "git": {name: read(f"git.{name}", how) for name, how in _git(folder).items()},
        "reasons": reasons,
    }


def flat(environment: dict[str, Any]) -> dict[str, Any]:
    """Flatten to dotted names, for tables and comparison; ``reasons`` are left out."""
    found: dict[str, Any] = {}
    for name, value in environment.items():
        if isinstance(value, dict) and name != "reasons":
            found |= {f"{name}.{inner}": each for inner, each in value.items()}
        elif name == "gpus":
            found[name] = ", ".join(gpu["name"] for gpu in value) if value else None
        elif name != "reasons":
            found[name] = value
    return found


# -- hardware --------------------------------------------------------------------------------------


def _cpu() -> dict[str, Callable[[], Any]]:
    return {
        "model": _cpu_model,
        "physical_cores": lambda: psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count,
        "usable_cores": lambda: len(os.sched_getaffinity(0)),
        "governor": lambda: _read(CPU / "cpu0" / "cpufreq" / "scaling_governor"),
        "smt": lambda: _read(CPU / "smt" / "active") == "1",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    raise Missing("/proc/cpuinfo names no model")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise Missing(f"{path} is not there") from None


def _gpus() -> list[dict[str, Any]]:
    import pynvml  # noqa: PLC0415 (looks for the driver, which few machines have)

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise Missing(f"NVML is not available: {error}") from None
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    return [_gpu(pynvml, handle) for handle in handles]


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    asked: dict[str, Callable[[], Any]] = {
        "name": lambda: nvml.nvmlDeviceGetName(handle),
        "uuid": lambda: nvml.nvmlDeviceGetUUID(handle),
        "memory_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total,
        "driver": nvml.nvmlSystemGetDriverVersion,
        "cuda_driver": nvml.nvmlSystemGetCudaDriverVersion_v2,
        "power_limit_watts": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "ecc": lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),
        "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
    }
    return {name: _asked(nvml, how) for name, how in asked.items()}


def _asked(nvml: Any, how: Callable[[], Any]) -> Any:
    try:
        return how()
    except nvml.NVMLError as error:
        return f"unavailable: {error}"


# -- limits, versions, git -------------------------------------------------------------------------


def _container(cgroup: Path) -> dict[str, Callable[[], Any]]:
    return {
        "cpu_limit_cores": lambda: _cpu_limit(cgroup),
        "memory_limit_bytes": lambda: _memory_limit(cgroup),
    }


def _cpu_limit(cgroup: Path) -> float:
    """Read the quota of cgroup v2 (``max 100000`` or ``200000 100000``) or v1."""
    if (cgroup / "cpu.max").exists():
        quota, period = _read(cgroup / "cpu.max").split()
    else:
        quota = _read(cgroup / "cpu" / "cpu.cfs_quota_us")
        period = _read(cgroup / "cpu" / "cpu.cfs_period_us")
    if quota in ("max", "-1"):
        raise Missing("no limit is set")
    return int(quota) / int(period)


def _memory_limit(cgroup: Path) -> int:
    newer = cgroup / "memory.max"
    older = cgroup / "memory" / "memory.limit_in_bytes"
    limit = _read(newer if newer.exists() else older)
    if limit == "max" or int(limit) >= 2**60:  # v1 says "no limit" with a huge number
        raise Missing("no limit is set")
    return int(limit)


def _version_of(package: str) -> Callable[[], str]:
    def read() -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            raise Missing("not installed") from None

    return read


def _git(folder: Path) -> dict[str, Callable[[], Any]]:
    return {
        "commit": lambda: _git_says(folder, ["rev-parse", "HEAD"]),
        "branch": lambda: _git_says(folder, ["rev-parse", "--abbrev-ref", "HEAD"]),
        "dirty": lambda: bool(_git_says(folder, ["status", "--porcelain"])),
    }


def _git_says(folder: Path, words: Iterable[str]) -> str:
    try:
        done = subprocess.run(
            ["git", *words],  # noqa: S607 (git is wherever the user has it)
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except FileNotFoundError:
        raise Missing("git is not installed") from None
    except subprocess.SubprocessError:
        raise Missing(f"{folder.name or folder} is not in a git repository") from None
    return done.stdout.strip()
