"""Temporary folders of runs on a node. Each is locked by its process; the kernel unlocks it."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path

PREFIX = f"llmbench-run-{socket.gethostname()}-"  # locks are those of one machine


def created() -> tuple[Path, int]:
    """Create a folder; return it with the descriptor that locks it until it is closed."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    while (lock := _lock(folder)) is None:  # `remove_orphans` was faster
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    return folder, lock


def remove_orphans() -> None:
    """Remove the folders of processes of this machine that have ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (lock := _lock(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder; return the descriptor, or None if another process has it or removed it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not folder.exists():
        os.close(descriptor)
        return None
    return descriptor
