"""A working copy of what is stored below a URL: pulled, changed, and pushed.

A working copy is a folder of the user's cache, so that code that reads and writes results folders
needs no store. `known.json` next to it has, for each file, the object's version and the file's
state when they were equal: a file in another state has yet to be pushed. A push writes whole
objects: the tables of a run, then its run.json, and the run set's manifest last.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import msgspec

from llmbench.errors import InputError
from llmbench.runs import lease
from llmbench.runs.files import CACHE, atomic_write, write_json
from llmbench.runs.object_store import Objects, Stored, StoreError
from llmbench.units import format_bytes

KNOWN, TOKEN, SYNC, INCOMING = "known.json", "token", ".sync", "incoming"
RUN = "run.json"
MANIFESTS = ("runset.json", "profile.json")
HEADS = frozenset({*MANIFESTS, RUN})
MOST_LISTINGS = 5  # of a store that changes while it is read

State = tuple[int, int, int]  # size, modification time and inode of a file


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """A file that equals an object: the object's version and size, and the file's state."""

    version: str
    size: int
    state: State

    def is_of(self, stored: Stored) -> bool:
        return (self.version, self.size) == (stored.version, stored.size)


@dataclass(slots=True)
class WorkingCopy:
    """A copy of what is stored below a URL; ``names`` are those of the files to pull, or all."""

    objects: Objects
    folder: Path
    names: frozenset[str] | None = None
    stored: dict[str, Stored] = field(default_factory=dict)
    leases: dict[Path, lease.Lease] = field(default_factory=dict)
    pulled_at: float = 0.0
    failed_at: float | None = None

    # -- state -------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL of the results."""
        return self.objects.url

    @property
    def home(self) -> Path:
        """The folder with the working copy, its token and `known.json`."""
        return self.folder.parent

    @property
    def token(self) -> str:
        """The name of this working copy in locks."""
        path = self.home / TOKEN
        if not path.is_file():
            atomic_write(path, uuid.uuid4().hex)
        return f"{path.read_text('utf-8')} {platform.node()}"

    @contextmanager
    def _synchronized(self) -> Iterator[dict[str, _Known]]:
        """Yield the content of `known.json`, locked meanwhile, and store it at the end."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / SYNC).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = self._read_known()
            try:
                yield known
            finally:
                self._keep(known)

    def _read_known(self) -> dict[str, _Known]:
        try:
            data = (self.home / KNOWN).read_bytes()
            return msgspec.json.decode(data, type=dict[str, _Known])
        except (FileNotFoundError, msgspec.DecodeError):  # then files are compared with objects
            return {}

    def _keep(self, known: dict[str, _Known]) -> None:
        write_json(self.home / KNOWN, msgspec.to_builtins(known))

    def _state(self, name: str) -> State | None:
        try:
            status = (self.folder / name).stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns, status.st_ino

    def _files(self) -> Iterator[str]:
        """Yield the names of files; another thread may rename or remove hidden ones meanwhile."""
        for path, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith("."):
                    yield (Path(path) / name).relative_to(self.folder).as_posix()

    def pending(self) -> list[str]:
        """Return the names of the files that have yet to be pushed."""
        known = self._read_known()
        return [n for n in self._files() if n not in known or known[n].state != self._state(n)]

    # -- pulling -----------------------------------------------------------------------------------

    def pull(self) -> None:
        """Read what has changed in the store; files that have yet to be pushed stay.

        The store is listed again until nothing changes, so that no run is half an older one.
        """
        with self._explained(), self._synchronized() as known:
            for _ in range(MOST_LISTINGS):
                self.stored = self.objects.all()
                if not self._update(known):
                    break
        self.pulled_at = time.monotonic()

    def pull_file(self) -> None:
        """Read the object that the URL itself names, such as a baseline file."""
        with self._synchronized():
            path = self.home / INCOMING
            if not self.objects.download({"": path}):
                raise InputError(f"{self.url}: no such object; check its name")
            path.replace(self.folder)

    def _update(self, known: dict[str, _Known]) -> bool:
        """Make the copy equal to what is stored; return whether anything had changed."""
        self._forget(known)
        changed = {name: one for name, one in self.stored.items() if self._is_new(name, one, known)}
        incoming = {name: self.home / INCOMING / name for name in changed}
        shutil.rmtree(self.home / INCOMING, ignore_errors=True)
        self._check_space(sum(one.size for one in changed.values()))
        if not incoming or not self.objects.download(incoming):
            return bool(incoming)
        for name, path in incoming.items():
            if (written := changed[name].written) > 0:
                os.utime(path, (written, written))
            if self._state(name) and not self._is_clean(name, known):
                self._settle(name, path)
        for name in incoming:
            (self.folder / name).unlink(missing_ok=True)
        for name, path in incoming.items():
            known[name] = _Known(changed[name].version, changed[name].size, _state_of(path))
        self._keep(known)  # before the files are there: a missing file is pulled again
        for name, path in incoming.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(self.folder / name)
        return True

    def _check_space(self, size: int) -> None:
        """Raise InputError if the disk of the cache has less than ``size`` bytes free."""
        free = shutil.disk_usage(self.home).free
        if size > free:
            raise InputError(
                f"{self.url}: needs {format_bytes(size)}, but {self.home} has only "
                f"{format_bytes(free)} free; free some space, set {CACHE}, or name a folder in it"
            )

    def _is_new(self, name: str, stored: Stored, known: dict[str, _Known]) -> bool:
        if not name or (self.names is not None and Path(name).name not in self.names):
            return False
        return self._state(name) is None or name not in known or not known[name].is_of(stored)

    def _is_clean(self, name: str, known: dict[str, _Known]) -> bool:
        return name in known and known[name].state == self._state(name)

    def _forget(self, known: dict[str, _Known]) -> None:
        """Remove the files of objects that were removed from the store."""
        for name in [name for name in known if name not in self.stored]:
            if self._is_clean(name, known):
                (self.folder / name).unlink()
                self._remove_empty((self.folder / name).parent)
            del known[name]

    def _remove_empty(self, folder: Path) -> None:
        while folder.is_relative_to(self.folder) and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _settle(self, name: str, incoming: Path) -> None:
        """Keep a run that was also measured elsewhere: ours becomes a discarded attempt."""
        path = self.folder / name
        is_of_run = re.fullmatch(r"(.*/)?(runs|discarded)/[^/]+/[^/]+", name)
        if not is_of_run or path.read_bytes() == incoming.read_bytes():
            return
        discarded = path.parent.parent.parent / "discarded"
        number = 1
        while (moved := discarded / f"{path.parent.name}-{number}").exists() or any(
            other.startswith(f"{moved.relative_to(self.folder).as_posix()}/")
            for other in self.stored
        ):
            number += 1
        discarded.mkdir(exist_ok=True)
        path.parent.rename(moved)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Add what is not yet uploaded to errors of the store; convert errors of the disk."""
        try:
            yield
        except StoreError as error:
            raise self._with_pending(error) from None
        except OSError as error:
            problem = f"{self.home}: cannot be written: {error.strerror or error}"
            raise StoreError(f"{problem}; check free space and permissions") from error

    def _with_pending(self, error: StoreError) -> StoreError:
        """Return the error with how many runs are only on this machine, and how to push them."""
        files = [Path(name) for name in self.pending()]
        runs = sum(path.name == RUN and path.parent.parent.name == "runs" for path in files)
        if not files:
            return error
        kept = f"{runs} run{'s' * (runs != 1)}" if runs else f"{len(files)} files"
        command = f"llmbench run --resume {shlex.quote(self.url)}"
        return StoreError(
            f"{error}. Nothing is lost: {kept} not yet uploaded "
            f"{'is' if runs == 1 else 'are'} kept in {self.home}; upload with: {command}"
        )

    # -- pushing -----------------------------------------------------------------------------------

    def push(self) -> None:
        """Write what has changed here to the store, a run set's manifest last."""
        for held in self.leases.values():
            held.check()
        with self._explained(), self._synchronized() as known:
            for folder, names in self._pending_by_folder():
                self._push_folder(folder, names, known)
                self._keep(known)

    def _pending_by_folder(self) -> list[tuple[str, list[str]]]:
        """Return the folders with files to push, and the files, in the order of the push."""
        names = sorted(self.pending(), key=_rank)
        return [(rank[1], [*group]) for rank, group in groupby(names, lambda n: _rank(n)[:2])]

    def _push_folder(self, folder: str, names: list[str], known: dict[str, _Known]) -> None:
        """Push files of a folder; remove a stored run first, so that no mixture of two is read."""
        head = f"{folder}/{RUN}"
        if head in names and len(names) > 1 and (head in known or head in self.stored):
            stale = {name for name in known if Path(name).parent == Path(folder)}
            stale = {name for name in stale if self._state(name) is None} | {head}
            self.objects.remove(sorted(stale, key=lambda name: name != head))
            for name in stale:
                known.pop(name, None)
        for name in names:
            if state := self._state(name):
                stored = self.objects.upload(self.folder / name, name)
                known[name] = _Known(stored.version, stored.size, state)

    def remove(self, folder: Path) -> None:
        """Remove a folder from the store, its manifest first, so that no half run set is read."""
        within = f"{folder.relative_to(self.folder).as_posix()}/".removeprefix("./")
        with self._synchronized() as known:
            names = [name for name in self.objects.all() if name.startswith(within)]
            self.objects.remove(sorted(names, key=lambda name: Path(name).name not in MANIFESTS))
            for name in names:
                known.pop(name, None)


def _rank(name: str) -> tuple[bool, str, bool, str]:
    path = Path(name)
    return path.name in MANIFESTS, str(path.parent), path.name == RUN, path.name


def _state_of(path: Path) -> State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino
