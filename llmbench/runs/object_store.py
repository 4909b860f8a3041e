"""Object stores that fsspec opens, such as S3: whole objects below a URL, with clear errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from llmbench.errors import InputError, LlmbenchError, MissingExtraError, shown
from llmbench.runs.redaction import redact

MOST_OBJECTS = 200_000
CONNECT_SECONDS = 10
S3 = ("s3", "s3a")
FILE = "file://"
WEB = ("http", "https")
URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
AMAZON = re.compile(r"https?://s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?/?")
UNREACHABLE = re.compile("Connect|Timeout|DNS|Proxy|HTTPClient")  # in names of exceptions
CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


class StoreError(InputError):
    """An object store cannot be used; what was to be written is still on this machine."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object's version, its size in bytes, and when it was written (Unix seconds)."""

    version: str
    size: int
    written: float = 0.0


def is_url(text: object) -> bool:
    """Return whether a text is the URL of a store, and not the path of a local file."""
    return URL.match(str(text)) is not None and not str(text).startswith(FILE)


def checked_url(text: str) -> str:
    """Return the URL of a results folder; raises InputError if it has secrets or no folder."""
    scheme, _, rest = text.partition("://")
    shortened = re.sub(r"(?<=://)[^/]*@", "", text).partition("?")[0]
    if scheme.lower() in WEB:
        raise InputError(
            f"{shortened}: a web address; use the store's own URL, such as s3://BUCKET/FOLDER"
        )
    if "@" in rest.partition("/")[0] or "?" in text:
        raise InputError(
            f"{shortened}: expected a URL without credentials or a signature; set {CREDENTIALS}"
        )
    if not rest.strip("/"):
        raise InputError(f"{shortened}: expected a bucket and a folder, such as s3://BUCKET/FOLDER")
    return f"{scheme.lower()}://{rest.rstrip('/')}"


class Objects:
    """The objects below a URL; every method raises StoreError when the store cannot be used."""

    def __init__(self, url: str) -> None:
        self.url = checked_url(url)
        self.scheme = self.url.partition("://")[0]
        self._fs, self._root = self._opened()

    def _opened(self) -> tuple[Any, str]:
        import fsspec  # noqa: PLC0415 (only needed for results in a store)

        options = {"config_kwargs": {"connect_timeout": CONNECT_SECONDS}} if self._is_s3 else {}
        try:
            fs, root = fsspec.url_to_fs(self.url, use_listings_cache=False, **options)
        except ImportError as error:
            if self._is_s3:
                raise MissingExtraError(self.url, "s3fs", "s3") from None
            raise InputError(f"{self.url}: {error}") from None
        except ValueError as error:
            raise InputError(f"{self.url}: {error}; use a URL such as s3://BUCKET/FOLDER") from None
        return fs, str(root).rstrip("/")

    @property
    def _is_s3(self) -> bool:
        return self.scheme in S3

    @cached_property
    def identity(self) -> str:
        """A text that differs between two stores with buckets of the same name."""
        if not self._is_s3:
            return self.url
        with self._explained():
            return f"{AMAZON.sub('', self._fs.s3.meta.endpoint_url)} {self.url}"

    def all(self) -> dict[str, Stored]:
        """Return the objects by their name below the URL; the name of the URL itself is empty.

        Hidden objects, and those whose names are not paths below a folder, are left out.
        """
        with self._explained():
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True)
        if len(found) > MOST_OBJECTS:
            raise InputError(f"{self.url}: has {len(found):,} objects; name a folder in it")
        files = {path: info for path, info in found.items() if info.get("type") != "directory"}
        named = {path[len(self._root) + 1 :]: info for path, info in files.items()}
        return {name: _stored(info) for name, info in named.items() if _is_path(name)}

    def find(self, name: str) -> Stored | None:
        """Return an object's version, or None if there is no such object."""
        with self._explained():
            try:
                return _stored(self._fs.info(self._key(name)))
            except FileNotFoundError:
                return None

    def read(self, name: str) -> bytes | None:
        """Return an object's content, or None if there is no such object."""
        with self._explained():
            try:
                return bytes(self._fs.cat_file(self._key(name)))
            except FileNotFoundError:
                return None

    def download(self, paths: Mapping[str, Path]) -> bool:
        """Write objects to files, several at a time; return whether all were still there."""
        with self._explained():
            try:
                self._fs.get([*map(self._key, paths)], [*map(str, paths.values())])
            except FileNotFoundError:
                return False
        return True

    def upload(self, path: Path, name: str) -> Stored:
        """Write a file as one whole object, and return its version."""
        with self._explained():
            self._fs.put_file(str(path), self._key(name))
            return _stored(self._fs.info(self._key(name)))

    def write(self, name: str, data: bytes) -> Stored:
        """Write an object, or overwrite it."""
        with self._explained():
            self._fs.pipe_file(self._key(name), data)
            return _stored(self._fs.info(self._key(name)))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it exists; return whether it was written.

        Raises NotImplementedError if the store refuses conditional writes.
        """
        with self._explained():
            try:
                self._fs.pipe_file(self._key(name), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if _code(error) == "NotImplemented":
                    raise NotImplementedError from None
                raise
        return True

    def replace(self, name: str, data: bytes, before: Stored) -> bool:
        """Overwrite an object if its version is still ``before``; return whether it was written.

        Stores other than S3 do not check the version.
        """
        condition = {"IfMatch": before.version} if self._is_s3 else {}
        with self._explained():
            try:
                self._fs.pipe_file(self._key(name), data, **condition)
            except FileNotFoundError:
                return False
            except OSError as error:
                if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                    return False
                raise
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, if they exist."""
        for name in names:
            with self._explained():
                try:
                    self._fs.rm_file(self._key(name))
                except FileNotFoundError:
                    continue

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Convert errors of the store to StoreErrors with a remedy."""
        try:
            yield
        except (LlmbenchError, NotImplementedError):
            raise
        except Exception as error:  # noqa: BLE001 (each kind of store raises its own)
            raise StoreError(f"{self.url}: {self._problem(error)}") from None

    def _problem(self, error: Exception) -> str:
        name, access = type(error).__name__, CREDENTIALS if self._is_s3 else "its credentials"
        place = "AWS_ENDPOINT_URL" if self._is_s3 else "its address"
        if isinstance(error, FileNotFoundError):
            bucket = "/".join(self.url.split("/")[:3])
            return f"{bucket} does not exist; create the bucket, or check its name and {place}"
        if isinstance(error, PermissionError):
            allowed = "list, read, write and delete there"
            code = _code(error) or "permission denied"
            return f"access is refused ({code}); check {access}, and that they may {allowed}"
        if "Credentials" in name or "Token" in name or name == "ProfileNotFound":
            return f"no usable credentials ({name}); set {access}"
        if isinstance(error, (ConnectionError, TimeoutError)) or UNREACHABLE.search(name):
            return f"cannot be reached ({name}); check the network and {place}"
        return f"{_code(error) or name}: {shown(redact(str(error)))}; check the URL and {place}"


def _code(error: BaseException) -> str:
    """Return the code of a store's response that caused an error, or an empty text."""
    response = getattr(error.__cause__ or error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _stored(info: dict[str, Any]) -> Stored:
    written = info.get("LastModified") or info.get("mtime") or info.get("created") or 0.0
    seconds = written.timestamp() if isinstance(written, datetime) else written
    seconds = float(seconds) if isinstance(seconds, (int, float)) else 0.0
    version = info.get("ETag") or info.get("etag") or info.get("md5Hash") or seconds
    return Stored(str(version), int(info.get("size") or 0), seconds)


def _is_path(name: str) -> bool:
    """Return whether an object's name is a path below a folder, with nothing hidden in it."""
    parts = name.split("/") if name else []
    return all(part and not part.startswith(".") and part.isprintable() for part in parts)
