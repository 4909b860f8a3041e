"""Locks of results folders, so that only one process at a time measures into a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from llmbench.errors import InputError
from llmbench.runs import remote
from llmbench.runs.lease import holder, holder_in

FILE = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[str | None]:
    """Lock a folder, created if missing, within the context.

    Yields None, or the reason if its file system or store has no locks. The kernel unlocks the
    folder of a process that dies. A folder that was created and is still empty is removed. Raises
    InputError if the folder cannot be written, or if another process has locked it; the message
    names it.
    """
    is_new, path = not folder.exists(), folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file, reason = _acquired(path)
    except OSError as error:
        message = f"{folder}: cannot be written: {error.strerror}; choose another folder"
        raise InputError(message) from None
    with file:
        try:
            with remote.session(folder) as reason_of_store:
                yield reason or reason_of_store
        finally:
            path.unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()


def _acquired(path: Path) -> tuple[IO[str], str | None]:
    """Return the locked file, and the reason if its file system has no locks."""
    while True:
        # a link in a folder from elsewhere must not lead to another file
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        file = os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                raise InputError(_refusal(path.parent, file)) from None
        except OSError as error:
            return file, f"{path.parent}: its file system has no locks ({error.strerror})"
        if _is_current(file, path):
            file.truncate(0)
            file.write(f"{holder()}\n")
            file.flush()
            return file, None
        file.close()


def _is_current(file: IO[str], path: Path) -> bool:
    """Return whether ``path`` is still this file, which its last holder may have removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _refusal(folder: Path, file: IO[str]) -> str:
    file.seek(0)
    who = holder_in(file.read(300))
    return (
        f"{folder}: {who} is measuring into it; wait until it has ended, or choose another folder"
    )
