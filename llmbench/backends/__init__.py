"""To whom requests are sent: a backend is opened and serves the dispatch of a load.

Here is what a backend of your own is written with. ``LocalBackend`` is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmbench.backends.base import Backend, BackendReport, LoadShape, OpenContext, Server
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.runs.record import Record

if TYPE_CHECKING:
    from llmbench.backends.local import LocalBackend, LocalServer

__all__ = [
    "Backend",
    "BackendReport",
    "LoadShape",
    "LocalBackend",
    "LocalServer",
    "OpenContext",
    "Record",
    "Server",
    "frozen_gc",
]


def __getattr__(name: str) -> Any:
    """Import the base of local backends, and the engine with it, on first use."""
    if name in {"LocalBackend", "LocalServer"}:
        from llmbench.backends import local  # noqa: PLC0415 (clients over the wire need no engine)

        return getattr(local, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
