"""Atomic writes, JSON reads with errors that name the file and key, and the cache folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from platformdirs import user_cache_path

from llmbench.errors import InputError

T = TypeVar("T")
CACHE = "LLMBENCH_CACHE"


def atomic_write(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically: under a temporary name, then renamed."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically and create its folder; raises InputError on failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def write_json(path: Path, content: object) -> None:
    """Write a JSON file atomically, in UTF-8; dataclasses become objects."""
    atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False, default=asdict))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; its file replaces ``path`` if the block ends without an error."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder(part: str) -> Path:
    """Return a subfolder of ``$LLMBENCH_CACHE``, or of ``llmbench`` in the user's cache folder."""
    chosen = os.environ.get(CACHE)
    return (Path(chosen) if chosen else user_cache_path("llmbench")) / part


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, with or without a byte order mark; raises InputError on failure."""
    try:
        return path.expanduser().read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read: not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check the path") from None


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object from a file; raises InputError, whose message ends with ``remedy``."""
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as JSON: {reason}; {remedy}") from None
    return stored if isinstance(stored, dict) else {}


def converted(stored: object, kind: type[T], path: str | Path, remedy: str) -> T:
    """Convert a JSON file's content to the type ``kind``; raises InputError naming the bad key."""
    try:
        return msgspec.convert(stored, kind, dec_hook=lambda of, value: of(value))
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: not in llmbench's format: {error}; {remedy}") from None
