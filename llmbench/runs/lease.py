"""Locks of results folders in object storage: an object that its holder writes again and again.

A killed process leaves its lock. It is taken over at once from the same working copy, whose local
lock the kernel has released, and from elsewhere when it is EXPIRED_SECONDS old by the clock of the
store.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llmbench.errors import InputError
from llmbench.runs.object_store import Objects, Stored, StoreError

REFRESH_SECONDS = 20.0
EXPIRED_SECONDS = 90.0
NAME = ".lock"
HOLDER = re.compile(r"process \d{1,10} on [\w.-]{1,255}")
LOGGER = logging.getLogger(__name__)


def holder() -> str:
    """Return the name of this process in locks."""
    return f"process {os.getpid()} on {platform.node()}"


def holder_in(text: str) -> str:
    """Return the name of the process in a lock, or "another process"."""
    match = HOLDER.match(text)
    return match[0] if match else "another process"


@dataclass(slots=True)
class Lease:
    """A lock that this process holds; ``reason`` is why it may not exclude others, or None."""

    objects: Objects
    name: str
    place: str
    token: str
    reason: str | None = None
    is_lost: bool = False

    @property
    def data(self) -> bytes:
        """The content of the lock's object."""
        return json.dumps({"holder": holder(), "token": self.token}).encode()

    def check(self) -> None:
        """Raise InputError if another process has taken the lock over."""
        if self.is_lost:
            raise InputError(
                f"{self.place}: its lock was lost to another process, since the store could not be "
                f"reached for {EXPIRED_SECONDS:.0f} s; its results are not overwritten"
            )

    def is_ours(self) -> bool:
        """Return whether the lock's object is still that of this process."""
        return _fields(self.objects.read(self.name)).get("token") == self.token

    def refresh(self) -> None:
        """Write the lock again, unless another process has taken it over."""
        before = self.objects.find(self.name)
        if before is None or not self.is_ours():
            self.is_lost = True
        elif not self.objects.replace(self.name, self.data, before):
            self.is_lost = not self.is_ours()

    def release(self) -> None:
        """Remove the lock; one that cannot be removed expires."""
        try:
            if self.is_ours():
                self.objects.remove([self.name])
        except StoreError as error:
            LOGGER.warning("%s; its lock expires after %.0f s", error, EXPIRED_SECONDS)


@contextmanager
def held(objects: Objects, within: str, token: str) -> Iterator[Lease]:
    """Hold the lock of a folder of a store within the context.

    ``token`` is that of the working copy, which the caller has locked. Raises InputError if another
    working copy's process holds the lock; the message names it.
    """
    place = f"{objects.url}/{within}".rstrip("/")
    lease = Lease(objects, f"{within}/{NAME}".lstrip("/"), place, token)
    _acquire(lease)
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(lease, ended), daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        lease.release()


def _keep(lease: Lease, ended: threading.Event) -> None:
    """Refresh a lock until its context ends, or it is lost; retry when the store fails."""
    while not ended.wait(REFRESH_SECONDS) and not lease.is_lost:
        try:
            lease.refresh()
        except StoreError as error:
            LOGGER.warning("%s", error)


def _acquire(lease: Lease) -> None:
    """Create the lock, or replace that of a killed process; raises InputError if it may run."""
    if _created(lease):
        return
    stored, other = lease.objects.find(lease.name), _fields(lease.objects.read(lease.name))
    if stored is None:
        raise InputError(f"{lease.place}: another process has just used it; try again")
    if other.get("token") != lease.token:
        age = _now(lease) - stored.written
        if age < EXPIRED_SECONDS:
            raise InputError(_refusal(lease, other, EXPIRED_SECONDS - age))
    if not lease.objects.replace(lease.name, lease.data, stored) or not lease.is_ours():
        raise InputError(_refusal(lease, _fields(lease.objects.read(lease.name)), EXPIRED_SECONDS))


def _created(lease: Lease) -> bool:
    """Create the lock unless it exists; note in ``reason`` if the store cannot check that."""
    objects = lease.objects
    try:
        if not objects.create(lease.name, lease.data):
            return False
        if not objects.create(lease.name, lease.data):
            return True
    except NotImplementedError:
        if objects.find(lease.name):
            return False
        objects.write(lease.name, lease.data)
    lease.reason = f"{lease.place}: its store has no conditional writes"
    return True


def _now(lease: Lease) -> float:
    """Return the time by the store's clock."""
    probe = f"{lease.name}-{os.getpid()}"
    written: Stored = lease.objects.write(probe, b"")
    lease.objects.remove([probe])
    return written.written


def _refusal(lease: Lease, other: dict[str, str], left: float) -> str:
    who = holder_in(other.get("holder", ""))
    return (
        f"{lease.place}: {who} is measuring into it; wait until it has ended, or choose another "
        f"folder; if it was killed, its lock expires in {left:.0f} s"
    )


def _fields(data: bytes | None) -> dict[str, str]:
    """Return the texts of a lock's object, which anyone may have written."""
    try:
        fields = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return {key: str(value) for key, value in fields.items()} if isinstance(fields, dict) else {}
