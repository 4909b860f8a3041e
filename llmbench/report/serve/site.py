"""The page at each URL, rendered from stored results on request."""

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
    """An HTML page and its HTTP status."""

    status: HTTPStatus
    body: bytes


class _NoSuchRunSetError(Exception):
    """No run set has the requested key."""


def message_page(status: HTTPStatus, message: str, title: str = "") -> Answer:
    """Return a page that shows only a message; its title defaults to the status phrase."""
    return Answer(status, _encoded(pages.message_page(title or status.phrase, message)))


def _encoded(text: str) -> bytes:
    """Encode a page as UTF-8, with ``?`` for invalid bytes in folder names."""
    return text.encode("utf-8", "replace")


class Site:
    """The HTML pages of a folder of run sets.

    URLs are matched against existing folders, never converted to paths. Pages are cached until
    their files change.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._making = Lock()
        self._entry = lru_cache(ENTRIES_KEPT)(_entry)
        self._report = lru_cache(PAGES_KEPT)(_report)
        self._comparison = lru_cache(PAGES_KEPT)(_comparison)

    def answer(self, target: str) -> Answer:
        """Return the page at a request's target (the path and query of the URL, as sent)."""
        path, _, query = target.partition("?")
        options = parse_qs(query)
        try:
            if path == HOME:
                return self._ok(self._index(options.get("filter", [""])[0]))
            if path == COMPARE:
                return self._compared(options.get("baseline", []), options.get("candidate", []))
            if path.startswith(REPORT):
                return self._reported(path.removeprefix(REPORT))
        except _NoSuchRunSetError as error:
            return message_page(HTTPStatus.NOT_FOUND, f"No run set {error}.")
        except InputError as error:
            return message_page(HTTPStatus.CONFLICT, str(error), "Cannot be read")
        return message_page(HTTPStatus.NOT_FOUND, "No such page.")

    def _ok(self, text: str) -> Answer:
        return Answer(HTTPStatus.OK, _encoded(text))

    def folders(self) -> dict[str, Path]:
        """Return the folders of the current run sets by their key in URLs."""
        return {_key(self._shown(path)): path for path in catalog.find(self._folder)}

    def _shown(self, path: Path) -> str:
        """Return a run set's displayed name: its relative path, or the name of the root folder."""
        return path.relative_to(self._folder).as_posix() if path != self._folder else path.name

    # -- pages -------------------------------------------------------------------------------------

    def _index(self, filtered_by: str) -> str:
        listed = [
            Listed(key, self._shown(path), self._entry(path, catalog.stamp(path)))
            for key, path in self.folders().items()
        ]
        return pages.index(self._folder.name, listed, filtered_by)

    def _reported(self, key: str) -> Answer:
        (path,) = self._paths([key])
        with self._making:
            return self._ok(self._report(path, catalog.stamp(path)))

    def _compared(self, baselines: Sequence[str], candidates: Sequence[str]) -> Answer:
        if len(baselines) != 1 or not candidates:
            message = "Select one baseline and one or more candidates."
            return message_page(HTTPStatus.BAD_REQUEST, message)
        paths = self._paths([*baselines, *candidates])
        with self._making:
            return self._ok(self._comparison(paths, tuple(map(catalog.stamp, paths))))

    def _paths(self, written: Sequence[str]) -> tuple[Path, ...]:
        """Return the folders of run sets by URL key; the keys' percent-encoding may vary."""
        folders = self.folders()
        keys = [_key(os.fsdecode(unquote_to_bytes(key))) for key in written]
        if unknown := [key for key in keys if key not in folders]:
            raise _NoSuchRunSetError(unknown[0])
        return tuple(folders[key] for key in keys)


def _key(shown: str) -> str:
    """Percent-encode a path, which may be invalid UTF-8."""
    return quote(os.fsencode(shown))


# -- cached until the stamps change ----------------------------------------------------------------


def _entry(folder: Path, _: Stamp) -> catalog.Entry:
    return catalog.entry(folder)


def _report(folder: Path, _: Stamp) -> str:
    return pages.report(store.read(folder), HOME)


def _comparison(folders: tuple[Path, ...], _: tuple[Stamp, ...]) -> str:
    baseline, *candidates = map(store.read, folders)
    return comparison_page.render([compare(baseline, candidate) for candidate in candidates], HOME)
