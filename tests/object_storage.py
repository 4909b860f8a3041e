"""An S3 server in a process of its own, and results in its buckets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

ACCESS_KEY, SECRET_KEY = "AKIACANARYQX7ZP2LM9V", "canary/Hw3Jr8Bd5Nf1Kt6Gs4Pq2Zx9Lm7Vt0"
SESSION_TOKEN = "canary-session-token-Yb8Wc3Re6Ud1Ai5Og7"  # noqa: S105 (of a server of the tests)
START_SECONDS = 60.0
_NUMBERS = count(1)


@dataclass(slots=True)
class ObjectStorage:
    """A running S3 server."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of its users."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": SESSION_TOKEN,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def bucket(self) -> Bucket:
        """Return a new, empty bucket."""
        bucket = Bucket(self, f"bucket-{next(_NUMBERS)}")
        self.request("PUT", f"/{bucket.name}")
        return bucket

    def request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Send a request without credentials, which the server does not check."""
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(  # noqa: S310 (of a server of the tests)
            self.url + path, data, headers, method=method
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310 (the same)
            return bytes(response.read())

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse all credentials within the context."""
        self.request("POST", "/moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self.request("POST", "/moto-api/reset-auth", b"inf")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of an S3 server, seen from outside llmbench."""

    storage: ObjectStorage
    name: str

    @property
    def url(self) -> str:
        """The URL of the bucket."""
        return f"s3://{self.name}"

    @property
    def _fs(self) -> Any:
        import fsspec  # noqa: PLC0415 (s3fs takes a second to import)

        return fsspec.filesystem(
            "s3",
            key=ACCESS_KEY,
            secret=SECRET_KEY,
            endpoint_url=self.storage.url,
            client_kwargs={"region_name": "us-east-1"},
            use_listings_cache=False,
        )

    def names(self, folder: str = "") -> list[str]:
        """Return the names of all objects of a folder."""
        root = f"{self.name}/{folder}".rstrip("/")
        found = self._fs.find(root, detail=True).items()
        return [path[len(root) + 1 :] for path, info in found if info["type"] == "file"]

    def contents(self, folder: str = "") -> dict[str, bytes]:
        """Return all objects of a folder by name."""
        return {name: self.read(f"{folder}/{name}".lstrip("/")) for name in self.names(folder)}

    def read(self, name: str) -> bytes:
        """Return an object's content."""
        return bytes(self._fs.cat_file(f"{self.name}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        self._fs.pipe_file(f"{self.name}/{name}", data)

    def remove(self, name: str) -> None:
        """Remove an object."""
        self._fs.rm_file(f"{self.name}/{name}")


def forget_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process open stores with the environment as it is now."""
    from s3fs import S3FileSystem  # noqa: PLC0415 (takes a second to import)

    monkeypatch.setattr(S3FileSystem, "_cache", {})


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def started(log: Path) -> Iterator[ObjectStorage]:
    """Start an S3 server, and end it after the context."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ}) as process,
    ):
        try:
            storage = ObjectStorage(f"http://127.0.0.1:{port}", process)
            _wait(storage)
            yield storage
        finally:
            process.terminate()


def _wait(storage: ObjectStorage) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            storage.request("GET", "/moto-api/data.json")
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until or storage.process.poll() is not None:
                raise
            time.sleep(0.05)
        else:
            return
