"""Results folders in object storage: a URL is opened as the path of its working copy.

So code that reads and writes results folders needs no store. `push` uploads what has changed in a
folder, `session` holds its lock in the store, and `address` is its URL.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmbench.runs import lease
from llmbench.runs.files import cache_folder
from llmbench.runs.object_store import Objects, StoreError, is_url
from llmbench.runs.working_copy import MANIFESTS, WorkingCopy

REPORTS = frozenset({*MANIFESTS, "report.html"})
STALE_SECONDS, RETRY_SECONDS = 5.0, 60.0
LOGGER = logging.getLogger(__name__)

_COPIES: dict[Path, WorkingCopy] = {}


def opened(place: str | Path, names: frozenset[str] | None = None) -> Path:
    """Return a local path as it is, or the path of a URL's working copy, which is pulled.

    ``names`` are those of the files to pull, all by default. Raises InputError if the URL is wrong
    or its store cannot be used.
    """
    if not is_url(place):
        return Path(str(place).removeprefix("file://"))
    objects = Objects(str(place))
    digest = hashlib.sha256(objects.identity.encode()).hexdigest()[:16]
    name = re.sub(r"[^\w.-]", "_", objects.url.rpartition("/")[2])[-100:].lstrip(".") or "_"
    folder = (cache_folder("remote") / digest / name).resolve()
    copy = _COPIES.setdefault(folder, WorkingCopy(objects, folder))
    copy.objects, copy.names = objects, names
    if not _is_measured_into(folder):
        copy.pull()
    if "" in copy.stored:
        copy.pull_file()
    return folder


def push(folder: Path) -> None:
    """Push what has changed in a folder, if it is in a working copy.

    Raises StoreError if the store cannot be used; the files stay and can be pushed later.
    """
    if copy := copy_of(folder):
        copy.push()


def try_push(folder: Path) -> None:
    """Push what has changed in a folder; if the store fails, leave it to a later push."""
    copy = copy_of(folder)
    if copy is None or (copy.failed_at and time.monotonic() - copy.failed_at < RETRY_SECONDS):
        return
    try:
        copy.push()
    except StoreError as error:
        copy.failed_at = time.monotonic()
        LOGGER.warning("%s", error)


def refresh(folder: Path) -> None:
    """Pull what has changed in the store of a folder, unless that was done a moment ago."""
    copy = copy_of(folder)
    if copy is None or time.monotonic() - copy.pulled_at <= STALE_SECONDS:
        return
    if not _is_measured_into(copy.folder):
        copy.pull()


def _is_measured_into(folder: Path) -> bool:
    """Return whether a process has locked a working copy, which it then keeps equal to the store.

    Pulling could undo what that process writes at the same moment.
    """
    try:
        with (folder / lease.NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock, or the file system has none
        return False
    return False


def remove(folder: Path) -> None:
    """Remove a folder from its store, if it is in a working copy."""
    if copy := copy_of(folder):
        copy.remove(folder)


@contextmanager
def session(folder: Path) -> Iterator[str | None]:
    """Hold the lock of a folder's store within the context; pull before it, and push after it.

    Yields why the lock may not exclude others, or None. Does nothing for a local folder.
    """
    copy = copy_of(folder)
    if copy is None or any(folder.is_relative_to(held) for held in copy.leases):
        yield None
        return
    within = folder.relative_to(copy.folder).as_posix().removeprefix(".")
    with lease.held(copy.objects, within, copy.token) as held:
        copy.pull()
        copy.leases[folder] = held
        try:
            copy.push()
            yield held.reason
            copy.push()
        finally:
            del copy.leases[folder]


def stored_bytes(folder: Path) -> int | None:
    """Return the size of all that is stored in a folder, or None if it is local."""
    if (copy := copy_of(folder)) is None:
        return None
    within = f"{folder.relative_to(copy.folder).as_posix()}/".removeprefix("./")
    return sum(one.size for name, one in copy.stored.items() if name.startswith(within))


def copy_of(path: Path) -> WorkingCopy | None:
    """Return the working copy that a path is in, or None."""
    return next((copy for folder, copy in _COPIES.items() if path.is_relative_to(folder)), None)


def address(path: Path) -> str:
    """Return the URL of a path in a working copy, or any other path itself."""
    if (copy := copy_of(path)) is None:
        return str(path)
    within = path.relative_to(copy.folder).as_posix().removeprefix(".")
    return f"{copy.url}/{within}".rstrip("/")


def with_addresses(text: str) -> str:
    """Return a message with the URLs of working copies instead of their paths."""
    for copy in _COPIES.values():
        text = text.replace(str(copy.folder), copy.url)
    return text
