"""Where results go when nobody says so."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path


def usual_folder(name: str) -> Path:
    """Name a new results folder after what is measured and the time of day."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("results") / f"{name}-{stamp}".replace(" ", "-")
