"""Reading values that may be unavailable, with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbench.errors import Forbidden, Unavailable


@dataclass(slots=True)
class Reader:
    """Reads values by name; an unavailable one is None, with its reason in ``reasons``."""

    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, reader: Callable[[], Any]) -> Any:
        """Return one value; if it is unavailable, store the reason and return None."""
        try:
            return reader()
        except (Unavailable, OSError) as error:
            self.reasons[name] = str(error)
            return None

    def read_all(self, prefix: str, readers: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Return several values by name; reasons are stored under ``prefix.name``."""
        return {name: self.read(f"{prefix}.{name}", read) for name, read in readers.items()}


def why_unavailable(read: Callable[[], object]) -> str | None:
    """Call ``read``; return the reason if it raises Unavailable, else None."""
    try:
        read()
    except Unavailable as reason:
        return str(reason)
    return None


def read_text(path: Path) -> str:
    """Return the stripped text of a small file of /proc or /sys.

    Raises Forbidden if access is denied, Unavailable for other errors.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        kind = Forbidden if isinstance(error, PermissionError) else Unavailable
        raise kind(f"{path} cannot be read: {error.strerror}") from None
