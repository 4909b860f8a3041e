"""Package versions, thread counts, environment variables and the git state of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmbench.errors import Unavailable

PACKAGES = (
    "torch", "transformers", "tokenizers", "numpy", "pandas", "pyarrow", "safetensors",
    "accelerate", "gguf", "triton", "nvidia-ml-py", "onnxruntime", "onnxruntime-gpu", "torchao",
    "prometheus-client", "jsonschema",
)  # fmt: skip

# The only environment variables that are stored; none can hold a secret.
VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_PROC_BIND",
    "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM", "MALLOC_ARENA_MAX",
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_LAUNCH_BLOCKING",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TORCHINDUCTOR_CACHE_DIR", "HF_HUB_OFFLINE",
    "LLMBENCH_ROOF", "LLMBENCH_SLOWDOWN",
)  # fmt: skip

# How idle OpenMP threads wait for work. By default they spin, which takes the core from the thread
# that they wait for when other programs run. PASSIVE implies GOMP_SPINCOUNT=0 (GNU) and
# KMP_BLOCKTIME=0 (LLVM, Intel), unless the user sets those.
WAIT_POLICY, PASSIVE = "OMP_WAIT_POLICY", "PASSIVE"
SET_HERE = "LLMBENCH_SET"  # the variable that llmbench set for its workers, if any
SLOWDOWN = "LLMBENCH_SLOWDOWN"  # the relative slowdown of a local backend's steps
PARENT = "LLMBENCH_PARENT"  # the process that started this one, whose own parent is a guardian

GIT_SECONDS = 10


def worker_variables() -> dict[str, str]:
    """Return the environment variables of workers: the user's, and a passive wait policy."""
    chosen = {} if WAIT_POLICY in os.environ else {WAIT_POLICY: PASSIVE, SET_HERE: WAIT_POLICY}
    return {**os.environ, **chosen}


def user_variables() -> dict[str, str]:
    """Return the environment variables without those that llmbench set, for other programs."""
    chosen = {PARENT, SET_HERE, os.environ.get(SET_HERE)}
    return {name: value for name, value in os.environ.items() if name not in chosen}


def threads_spin() -> bool:
    """Return whether idle threads may spin, by this process's wait policy."""
    return os.environ.get(WAIT_POLICY, "").upper() != PASSIVE


def package_readers() -> dict[str, Callable[[], str]]:
    """Return readers of package versions, which do not import the packages."""
    return {name: _version_of(name) for name in PACKAGES}


def _version_of(package: str) -> Callable[[], str]:
    def read() -> str:
        if (found := _installed(package)) is None:
            raise Unavailable("not installed")
        return found

    return read


@lru_cache(maxsize=2 * len(PACKAGES))
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def thread_readers() -> dict[str, Callable[[], Any]]:
    """Return readers of the number of CPU threads that a package uses, by package name."""
    return {"torch": lambda: _loaded_torch().get_num_threads()}


def _loaded_torch() -> Any:
    """Return torch; raise Unavailable if not imported yet, since importing it takes seconds."""
    if "torch" not in sys.modules:
        raise Unavailable("torch is not loaded in this process")
    return sys.modules["torch"]


def git_readers(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return readers of the commit, branch and dirty state of a folder's git repository."""
    status = _GitStatus(folder)
    return {"commit": status.commit, "branch": status.branch, "dirty": status.is_dirty}


class _GitStatus:
    """The state of a git repository, which one process of git reads when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def commit(self) -> str:
        if (commit := self._header("branch.oid")) == "(initial)":
            raise Unavailable("the repository has no commit yet")
        return commit

    def branch(self) -> str:
        if (name := self._header("branch.head")) == "(detached)":
            raise Unavailable("no branch is checked out")
        return name

    def is_dirty(self) -> bool:
        return any(not line.startswith("# ") for line in self._lines)

    def _header(self, name: str) -> str:
        start = f"# {name} "
        return next(line.removeprefix(start) for line in self._lines if line.startswith(start))

    @property
    def _lines(self) -> list[str]:
        if isinstance(self._answer, Unavailable):
            raise self._answer
        return self._answer.splitlines()

    @cached_property
    def _answer(self) -> str | Unavailable:
        try:
            return _git(self._folder, ["status", "--porcelain=v2", "--branch"])
        except Unavailable as reason:
            return reason


def _git(folder: Path, arguments: Sequence[str]) -> str:
    try:
        process = subprocess.run(
            ["git", *arguments],  # noqa: S607 (git is found through PATH)
            cwd=folder,
            # English messages; `status` must not lock the repository
            env={**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=GIT_SECONDS,
        )
    except FileNotFoundError:
        raise Unavailable("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"git took longer than {GIT_SECONDS} s") from None
    if process.returncode:
        raise Unavailable(_git_error(folder, process.stderr))
    return process.stdout.strip()


def _git_error(folder: Path, stderr: str) -> str:
    if "not a git repository" in stderr:
        return f"{folder.name or folder} is not in a git repository"
    if "dubious ownership" in stderr:
        return "the repository belongs to another user; see git's setting safe.directory"
    return f"git failed: {stderr.strip().partition(chr(10))[0]}"
