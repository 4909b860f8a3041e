"""The server that logs its times, benchmarks/truth_server.py, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).parents[1] / "benchmarks" / "truth_server.py"


@contextmanager
def serving(*arguments: object) -> Iterator[str]:
    command = [sys.executable, str(SERVER), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def truth(url: str) -> dict[int, tuple[float, list[float]]]:
    """Return when the server read each request and wrote each token."""
    with urllib.request.urlopen(f"{url}/truth") as answer:  # noqa: S310 (our own server)
        return {int(name): (read, writes) for name, read, writes in json.load(answer)}
