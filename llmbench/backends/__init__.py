"""Backends: the systems under test, which serve the requests of a load.

The public names for custom backends; those for local backends are imported on first use.
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
    """Return LocalBackend, LocalServer or TorchModel, whose modules are imported on first use."""
    if name in {"LocalBackend", "LocalServer"}:
        from llmbench.backends import local  # noqa: PLC0415 (network clients need no engine)

        return getattr(local, name)
    if name == "TorchModel":
        from llmbench.models import loading  # noqa: PLC0415 (imports torch)

        return loading.TorchModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
