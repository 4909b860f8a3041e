"""Values that may not be to be had, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Missing(Exception):  # noqa: N818 (not an error: a value that is not to be had here)
    """Why a value cannot be read."""


class Forbidden(Missing):
    """A value is there, and this user may not read it."""


@dataclass(slots=True)
class Reader:
    """Reads values by name; where one is not to be had it is None and ``reasons`` says why."""

    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, how: Callable[[], Any]) -> Any:
        """Read one value."""
        try:
            return how()
        except (Missing, OSError) as error:
            self.reasons[name] = str(error)
            return None

    def read_all(self, prefix: str, asked: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """Read several values; their reasons stand under ``prefix.name``."""
        return {name: self.read(f"{prefix}.{name}", how) for name, how in asked.items()}


def read_text(path: Path) -> str:
    """Read a small file of /proc or /sys, stripped. Raises Missing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        kind = Forbidden if isinstance(error, PermissionError) else Missing
        raise kind(f"{path} cannot be read: {error.strerror}") from None
