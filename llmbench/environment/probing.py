"""Values that may not be to be had, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbench.errors import Forbidden, Unavailable


@dataclass(slots=True)
class Reader:
    """Reads values by name; where one is not to be had it is None and ``reasons`` says why."""

    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, how: Callable[[], Any]) -> Any:
        """Read one value."""
        try:
            return how()
        except (Unavailable, OSError) as error:
            self.reasons[name] = str(error)
            return None

    def read_all(self, prefix: str, asked: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Read several values; their reasons stand under ``prefix.name``."""
        return {name: self.read(f"{prefix}.{name}", how) for name, how in asked.items()}


def read_text(path: Path) -> str:
    """Read a small file of /proc or /sys, stripped. Raises Unavailable where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        kind = Forbidden if isinstance(error, PermissionError) else Unavailable
        raise kind(f"{path} cannot be read: {error.strerror}") from None
