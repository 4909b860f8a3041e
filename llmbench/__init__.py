"""Benchmark and profile LLM inference: a load sends the requests of a workload to a backend.

``llmbench.load("results/...")`` reads a run set back as pandas frames, and ``llmbench.figures``
draws its charts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from llmbench.report import figures
    from llmbench.report.frames import RunSet

__all__ = ["__version__", "figures", "load"]
__version__ = "0.2.0"


def load(folder: str | Path) -> RunSet:
    """Read a run set from its results folder, as frames for pandas users.

    Raises InputError when the folder is not one that llmbench wrote.
    """
    from llmbench.report.frames import RunSet  # noqa: PLC0415 (pandas would slow `llmbench --help`)

    return RunSet.read(folder)


def __getattr__(name: str) -> Any:
    """Import `llmbench.figures` on first use, since plotly takes a second."""
    if name == "figures":
        from llmbench.report import figures  # noqa: PLC0415 (plotly would slow `llmbench --help`)

        return figures
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
