"""The layer through which every file of a user is read, atomic writes, and the cache folder.

A file is read as bytes of a bounded size, whatever its name says: gzip is recognized by content.
Text is UTF-8, or UTF-16 with a byte order mark; lines end in LF or CRLF and nothing else. Every
problem is a FileError that names the file with the line, byte or key.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from platformdirs import user_cache_path

from llmbench.errors import FileError, InputError, shown
from llmbench.units import format_bytes

T = TypeVar("T")
CACHE = "LLMBENCH_CACHE"
PARTIAL = ".*.partial-*"  # the names of `temporary` paths
MAX_BYTES = 2 * 2**30
MAX_RATIO, MIN_UNPACKED = 200, 64 * 2**20  # of gzip: text shrinks to a tenth, seldom to a hundredth
GZIP = b"\x1f\x8b"
REFUSED = {
    b"(\xb5/\xfd": "compressed with Zstandard",
    b"\xfd7zXZ": "compressed with xz",
    b"BZh91AY": "compressed with bzip2",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF document",
}
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
NUL, BOM = "\0", "\ufeff"
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# an escaped backslash or a surrogate pair; else, as a group, a surrogate without its other half
SURROGATES = re.compile(
    r"\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(\\u[dD][89a-fA-F][\da-fA-F]{2})"
)
DECODER = json.JSONDecoder(strict=False)
REPLACEMENT = r"\ufffd"


# -- writing ---------------------------------------------------------------------------------------


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
    partial = temporary(path)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def temporary(path: Path, suffix: str = "") -> Path:
    """Return a hidden path in the same folder, for what will be renamed or removed."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}{suffix}")


def sync(path: Path) -> None:
    """Write a file or folder through to the disk, so that a crash of the machine keeps it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems sync only files
            raise
    finally:
        os.close(descriptor)


def cache_folder(part: str) -> Path:
    """Return a subfolder of ``$LLMBENCH_CACHE``, or of ``llmbench`` in the user's cache folder."""
    chosen = os.environ.get(CACHE)
    return (Path(chosen) if chosen else user_cache_path("llmbench")) / part


# -- bytes -----------------------------------------------------------------------------------------


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file, decompressed if it is gzip.

    Raises FileError if it cannot be read or has more than ``most`` bytes.
    """
    try:
        with open(path.expanduser(), "rb", opener=_open_regular) as file:
            _check_size(path, os.fstat(file.fileno()).st_size, most)
            data = file.read(most + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(path, f"cannot be read: {reason}", remedy="check the path") from None
    except (ValueError, RuntimeError) as error:  # a NUL in the path, or a user without a home
        raise FileError(path, f"cannot be read: {error}", remedy="check the path") from None
    return unpacked(data, path, most)


def _open_regular(path: str, flags: int) -> int:
    """Open a file, but never wait for a pipe's writer; raise OSError unless the file is regular."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # reading a folder has its own error
        return descriptor
    os.close(descriptor)
    raise OSError(0, "not a regular file")


def unpacked(data: bytes, path: object, most: int = MAX_BYTES) -> bytes:
    """Return bytes decompressed if they are gzip; raise FileError if they are damaged or too many.

    Other compressed and binary formats are refused by name.
    """
    for magic, name in REFUSED.items():
        if data.startswith(magic):
            raise FileError(path, f"is {name}", remedy="save it as text, gzip or Parquet")
    if not data.startswith(GZIP):
        return data
    most = min(most, max(MIN_UNPACKED, MAX_RATIO * len(data)))
    try:
        with gzip.open(io.BytesIO(data)) as file:
            data = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(path, f"is damaged gzip: {error}", remedy="copy it again") from None
    _check_size(path, len(data), most)
    return data


def _check_size(path: object, size: int, most: int) -> None:
    if size > most:
        problem = f"has more than {format_bytes(most)}"
        raise FileError(path, problem, remedy="split it, or keep only some of its rows")


# -- text ------------------------------------------------------------------------------------------


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """Return the text of a file; raises FileError if it cannot be read or is not text."""
    return decoded(read_bytes(path, most), path)


def decoded(data: bytes, path: object) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark; raise FileError that names a wrong byte."""
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        at = len(mark) + error.start
        problem = f"byte {at + 1} of the file ({data[at]:#04x}) is not {encoding.upper()}"
        where = _at(path, data.count(b"\n", 0, at) + 1 if encoding == "utf-8" else None)
        raise FileError(where, problem, remedy="save it as UTF-8") from None
    if (at := text.find(NUL)) >= 0:
        where = _at(path, text.count("\n", 0, at) + 1)
        raise FileError(where, "found a NUL character", "text", "save it as UTF-8")
    return text


def split_lines(text: str) -> list[str]:
    """Return the lines of a text without their line feeds, and without byte order marks.

    U+2028, U+0085, form feeds and the like are characters like any other. A byte order mark may
    begin any line, since files are concatenated.
    """
    return [line.removeprefix(BOM) for line in text.split("\n")]


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, without LF or CRLF, numbered from 1."""
    for number, line in enumerate(split_lines(text), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


# -- JSON ------------------------------------------------------------------------------------------


def read_json(path: Path, remedy: str, most: int = MAX_BYTES) -> dict[str, Any]:
    """Read a JSON object from a file; raises FileError, whose message ends with ``remedy``."""
    stored = parse_json(read_text(path, most), path, remedy=remedy)
    if not isinstance(stored, dict):
        raise FileError(path, f"found {shown(stored)}", "a JSON object", remedy)
    return stored


def parse_json(text: str, path: object, line: int | None = None, remedy: str = "") -> Any:
    """Parse JSON text of a file, or of its line ``line``; raises FileError with the line.

    Strings may contain control characters. Half a surrogate pair, which no encoding can represent,
    becomes U+FFFD.
    """
    try:
        if SURROGATE.search(text):
            text = SURROGATES.sub(_whole_character, text)
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"{path}:{line or error.lineno}"
        problem = f"{error.msg} at column {error.colno}"
    except ValueError:
        where, problem = _at(path, line), "a number has more than 4,300 digits"
    except RecursionError:
        where, problem = _at(path, line), "nested too deeply"
    raise FileError(where, f"not valid JSON: {problem}", remedy=remedy)


def _at(path: object, line: int | None) -> str:
    return f"{path}:{line}" if line else str(path)


def _whole_character(match: re.Match[str]) -> str:
    return REPLACEMENT if match[1] else match[0]


def read_json_lines(path: Path, remedy: str) -> Iterator[tuple[int, str, Any]]:
    """Yield the number, the text and the value of each line; raises FileError with the line."""
    for number, line in numbered_lines(read_text(path)):
        yield number, line, parse_json(line, path, number, remedy)


def converted(stored: object, kind: type[T], path: object, remedy: str) -> T:
    """Convert a JSON file's content to the type ``kind``; raises FileError naming the bad key."""
    try:
        return msgspec.convert(stored, kind, dec_hook=lambda of, value: of(value))
    except msgspec.ValidationError as error:
        raise FileError(path, f"not in llmbench's format: {error}", remedy=remedy) from None
    except RecursionError:
        raise FileError(path, "nested too deeply", remedy=remedy) from None
