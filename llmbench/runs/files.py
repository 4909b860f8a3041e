"""Files that are never seen half written, and where those are kept that can be made again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

CACHE = "LLMBENCH_CACHE"


def atomic_write(path: Path, text: str) -> None:
    """Write a text file so that it is never seen half written."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write; it takes the place of ``path`` when it is whole."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder(part: str) -> Path:
    """Say where a part keeps what it can make again: ``$LLMBENCH_CACHE``, or the user's cache."""
    asked = os.environ.get(CACHE)
    return (Path(asked) if asked else user_cache_path("llmbench")) / part
