"""Which page an address stands for: made when it is asked for, from what is stored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qs, quote, unquote_to_bytes

from llmbench.analysis.compare.comparison import compare
from llmbench.errors import InputError
from llmbench.report import pages
from llmbench.report.comparison import page as comparison_page
from llmbench.report.html import HOME
from llmbench.report.pages import Listed
from llmbench.runs import catalog, store
from llmbench.runs.catalog import Stamp

COMPARE, REPORT = "/compare", "/report/"
PAGES_KEPT, ENTRIES_KEPT = 8, 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of HTML and its status."""

    status: HTTPStatus
    body: bytes


class _NoSuchRunSetError(Exception):
    """No run set has a key."""


def words(status: HTTPStatus, told: str, title: str = "") -> Answer:
    """Answer with a page that says why there is no other one; its usual title is the status."""
    return Answer(status, _encoded(pages.words(title or status.phrase, told)))


def _encoded(text: str) -> bytes:
    """Encode a page; names of folders may hold bytes that are no text."""
    return text.encode("utf-8", "replace")


class Site:
    """The pages over a folder of run sets.

    Folders are looked up in what was found there, and never made of an address. A page is kept as
    long as the files that it was made of stay as they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._making = Lock()
        self._entry = lru_cache(ENTRIES_KEPT)(_entry)
        self._report = lru_cache(PAGES_KEPT)(_report)
        self._comparison = lru_cache(PAGES_KEPT)(_comparison)

    def answer(self, target: str) -> Answer:
        """Give the page of a request's target, its path and query as they were sent."""
        path, _, query = target.partition("?")
        asked = parse_qs(query)
        try:
            if path == HOME:
                return self._ok(self._index(asked.get("filter", [""])[0]))
            if path == COMPARE:
                return self._compared(asked.get("baseline", []), asked.get("candidate", []))
            if path.startswith(REPORT):
                return self._reported(path.removeprefix(REPORT))
        except _NoSuchRunSetError as error:
            return words(HTTPStatus.NOT_FOUND, f"There is no run set {error} here.")
        except InputError as error:
            return words(HTTPStatus.CONFLICT, str(error), "Cannot be read")
        return words(HTTPStatus.NOT_FOUND, "There is no such page.")

    def _ok(self, text: str) -> Answer:
        return Answer(HTTPStatus.OK, _encoded(text))

    def folders(self) -> dict[str, Path]:
        """Find the run sets there are now, by the key that their addresses have."""
        return {_key(self._shown(found)): found for found in catalog.find(self._folder)}

    def _shown(self, found: Path) -> str:
        """Name a run set by its place; the only one by its folder."""
        return found.relative_to(self._folder).as_posix() if found != self._folder else found.name

    # -- pages -------------------------------------------------------------------------------------

    def _index(self, sought: str) -> str:
        listed = [
            Listed(key, self._shown(found), self._entry(found, catalog.stamp(found)))
            for key, found in self.folders().items()
        ]
        return pages.index(self._folder.name, listed, sought)

    def _reported(self, asked: str) -> Answer:
        (found,) = self._found([asked])
        with self._making:
            return self._ok(self._report(found, catalog.stamp(found)))

    def _compared(self, baselines: Sequence[str], candidates: Sequence[str]) -> Answer:
        if len(baselines) != 1 or not candidates:
            told = "Pick one baseline, and one candidate or several."
            return words(HTTPStatus.BAD_REQUEST, told)
        found = self._found([*baselines, *candidates])
        with self._making:
            return self._ok(self._comparison(found, tuple(map(catalog.stamp, found))))

    def _found(self, asked: Sequence[str]) -> tuple[Path, ...]:
        """Look folders up, whichever letters of their keys are written as they are."""
        folders = self.folders()
        keys = [_key(os.fsdecode(unquote_to_bytes(each))) for each in asked]
        if unknown := [key for key in keys if key not in folders]:
            raise _NoSuchRunSetError(unknown[0])
        return tuple(folders[key] for key in keys)


def _key(shown: str) -> str:
    """Write a place so that it can stand in an address, whatever bytes it is made of."""
    return quote(os.fsencode(shown))


# -- what is kept as long as the stamps are alike -------------------------------------------------


def _entry(folder: Path, _: Stamp) -> catalog.Entry:
    return catalog.entry(folder)


def _report(folder: Path, _: Stamp) -> str:
    return pages.report(store.read(folder), HOME)


def _comparison(folders: tuple[Path, ...], _: tuple[Stamp, ...]) -> str:
    baseline, *candidates = map(store.read, folders)
    return comparison_page.render([compare(baseline, each) for each in candidates], HOME)
