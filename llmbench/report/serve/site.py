"""The page at each URL, rendered from stored results on request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from threading import BoundedSemaphore, Lock
from urllib.parse import parse_qs, quote, unquote_to_bytes
from weakref import WeakValueDictionary

from llmbench.analysis.compare.comparison import compare
from llmbench.errors import InputError
from llmbench.report import pages
from llmbench.report.comparison import page as comparison_page
from llmbench.report.html import HOME
from llmbench.report.pages import Listed
from llmbench.runs import catalog, remote, store
from llmbench.runs.catalog import Stamp

COMPARE, REPORT = "/compare", "/report/"
PAGES_KEPT, ENTRIES_KEPT = 8, 4096
MOST_TARGET = 8192  # characters of a path and query
MOST_CANDIDATES = 8
MOST_FIELDS = 2 + MOST_CANDIDATES
MOST_RENDERED = 4  # at a time
CONCLUDING_SECONDS = 3.0  # until the index is sent; the other conclusions are for the next time


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTML page and its HTTP status."""

    status: HTTPStatus
    body: bytes


class _NoSuchRunSetError(Exception):
    """No run set has the requested key."""


class _BadRequestError(Exception):
    """The request cannot be answered as it is."""


def message_page(status: HTTPStatus, message: str, title: str = "") -> Answer:
    """Return a page that shows only a message; its title defaults to the status phrase."""
    return Answer(status, _encoded(pages.message_page(title or status.phrase, message)))


def _encoded(text: str) -> bytes:
    """Encode a page as UTF-8, with ``?`` for invalid bytes in folder names."""
    return text.encode("utf-8", "replace")


class Site:
    """The HTML pages of a folder of run sets.

    URLs are matched against existing folders, never converted to paths, and links out of the folder
    are not followed. Pages are cached until their files change; a few are rendered at a time, and
    none twice at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rendering = BoundedSemaphore(MOST_RENDERED)
        self._locks: WeakValueDictionary[Hashable, Lock] = WeakValueDictionary()
        self._guard = Lock()
        self._entry = lru_cache(ENTRIES_KEPT)(_entry)
        self._conclusions: dict[Path, tuple[Stamp, str]] = {}
        self._concluding = Lock()
        self._report = lru_cache(PAGES_KEPT)(_report)
        self._comparison = lru_cache(PAGES_KEPT)(_comparison)

    def answer(self, target: str) -> Answer:
        """Return the page at a request's target (the path and query of the URL, as sent)."""
        if len(target) > MOST_TARGET:
            message = f"An address has at most {MOST_TARGET} characters."
            return message_page(HTTPStatus.REQUEST_URI_TOO_LONG, message)
        path, _, query = target.partition("?")
        try:
            return self._answer(path, _fields(query))
        except _BadRequestError as error:
            return message_page(HTTPStatus.BAD_REQUEST, str(error))
        except _NoSuchRunSetError as error:
            return message_page(HTTPStatus.NOT_FOUND, f"No run set {error}.")
        except InputError as error:
            return message_page(HTTPStatus.CONFLICT, str(error), "Cannot be read")

    def _answer(self, path: str, fields: dict[str, list[str]]) -> Answer:
        if path == HOME:
            return self._ok(self._index(fields.get("filter", [""])[0]))
        if path == COMPARE:
            return self._compared(fields.get("baseline", []), fields.get("candidate", []))
        if path.startswith(REPORT):
            return self._reported(path.removeprefix(REPORT))
        return message_page(HTTPStatus.NOT_FOUND, "No such page.")

    def _ok(self, text: str) -> Answer:
        return Answer(HTTPStatus.OK, _encoded(text))

    def folders(self) -> dict[str, Path]:
        """Return the folders of the current run sets by their key in URLs."""
        remote.refresh(self._folder)
        return {_key(self._shown(path)): path for path in catalog.find(self._folder)}

    def _shown(self, path: Path) -> str:
        """Return a run set's displayed name: its relative path, or the name of the root folder."""
        return path.relative_to(self._folder).as_posix() if path != self._folder else path.name

    # -- pages -------------------------------------------------------------------------------------

    def _index(self, filtered_by: str) -> str:
        listed = [
            Listed(key, self._shown(path), self._listed(path))
            for key, path in self.folders().items()
        ]
        newest_first = sorted(listed, key=lambda run_set: run_set.entry.began_at, reverse=True)
        with self._concluding:
            until = time.monotonic() + CONCLUDING_SECONDS
            concluded = [self._concluded(run_set, until) for run_set in newest_first]
        return pages.index(self._folder.name, concluded, filtered_by)

    def _concluded(self, run_set: Listed, until: float) -> Listed:
        """Return a run set with its conclusion, which is computed once, if there is time left."""
        folder = run_set.entry.folder
        if run_set.entry.problem:
            return run_set
        now = catalog.stamp(folder)
        stamped, sentence = self._conclusions.get(folder, ((), ""))
        if stamped != now and time.monotonic() < until:
            sentence = _conclusion(folder)
            self._conclusions[folder] = now, sentence
        return replace(run_set, conclusion=sentence)

    def _listed(self, path: Path) -> catalog.Entry:
        try:
            self._check_links(path)
        except InputError as error:
            return catalog.Entry(path, path.name, problem=str(error))
        return self._entry(path, catalog.stamp(path))

    def _reported(self, key: str) -> Answer:
        (path,) = self._paths([key])
        return self._rendered(path, lambda: self._report(path, catalog.stamp(path)))

    def _compared(self, baselines: Sequence[str], candidates: Sequence[str]) -> Answer:
        if len(baselines) != 1 or not 1 <= len(candidates) <= MOST_CANDIDATES:
            raise _BadRequestError(
                f"Select one baseline and one or more candidates, at most {MOST_CANDIDATES}."
            )
        paths = (*self._paths(baselines), *self._paths(candidates))
        return self._rendered(
            paths, lambda: self._comparison(paths, tuple(map(catalog.stamp, paths)))
        )

    def _rendered(self, key: Hashable, render: Callable[[], str]) -> Answer:
        """Return a page, rendered unless it is cached; equal requests wait for the same page."""
        with self._guard:
            lock = self._locks.setdefault(key, Lock())
        with lock, self._rendering:
            return self._ok(render())

    def _paths(self, written: Sequence[str]) -> tuple[Path, ...]:
        """Return the folders of run sets, each once, by URL key in any percent-encoding."""
        folders = self.folders()
        keys = [_key(os.fsdecode(unquote_to_bytes(key))) for key in written]
        if unknown := [key for key in keys if key not in folders]:
            raise _NoSuchRunSetError(unknown[0])
        paths = tuple(folders[key] for key in dict.fromkeys(keys))
        for path in paths:
            self._check_links(path)
        return paths

    def _check_links(self, path: Path) -> None:
        if link := catalog.find_link(path, self._folder):
            name = self._shown(link)
            raise InputError(f"{name}: a link out of the served folder; copy its target")


def _fields(query: str) -> dict[str, list[str]]:
    try:
        return parse_qs(query, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise _BadRequestError(f"At most {MOST_CANDIDATES} candidates can be compared.") from None


def _key(shown: str) -> str:
    """Percent-encode a path, which may be invalid UTF-8."""
    return quote(os.fsencode(shown))


# -- cached until the stamps change ----------------------------------------------------------------


def _entry(folder: Path, _: Stamp) -> catalog.Entry:
    return catalog.entry(folder)


def _conclusion(folder: Path) -> str:
    try:
        return pages.conclusion(store.read(folder))
    except InputError as error:  # a damaged run, which the catalog counts
        return str(error)


def _report(folder: Path, _: Stamp) -> str:
    return pages.report(store.read(folder), HOME)


def _comparison(folders: tuple[Path, ...], _: tuple[Stamp, ...]) -> str:
    baseline, *candidates = map(store.read, folders)
    return comparison_page.render([compare(baseline, candidate) for candidate in candidates], HOME)
