"""To whom requests are sent: a backend is opened and serves the dispatch of a load.

A backend of your own is written with these names; those of local backends load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmbench.backends.base import (
    Backend,
    BackendReport,
    LoadShape,
    OpenContext,
    Server,
    not_effective,
)
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.runs.record import Record

if TYPE_CHECKING:
    from llmbench.backends.local import LocalBackend, LocalServer
    from llmbench.models.loading import TorchModel

__all__ = [
    "Backend",
    "BackendReport",
    "LoadShape",
    "LocalBackend",
    "LocalServer",
    "OpenContext",
    "Record",
    "Server",
    "TorchModel",
    "frozen_gc",
    "not_effective",
]


def __getattr__(name: str) -> Any:
    """Import the base of local backends, with the engine, or torch's model on first use."""
    if name in {"LocalBackend", "LocalServer"}:
        from llmbench.backends import local  # noqa: PLC0415 (clients over the wire need no engine)

        return getattr(local, name)
    if name == "TorchModel":
        from llmbench.models import loading  # noqa: PLC0415 (imports torch)

        return loading.TorchModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
