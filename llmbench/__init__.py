"""Benchmark and profile LLM inference: a load sends the requests of a workload to a backend.

``llmbench.load("results/...")`` reads a run set back as pandas frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from llmbench.frames import RunSet

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(folder: str | Path) -> RunSet:
    """Read a run set from its results folder, as frames for pandas users.

    Raises InputError when the folder is not one that llmbench wrote.
    """
    from llmbench.frames import RunSet  # noqa: PLC0415 (pandas would slow `llmbench --help`)

    return RunSet.read(folder)
