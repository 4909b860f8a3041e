"""Compile caches of launched servers."""

from __future__ import annotations

import os
from pathlib import Path

from llmbench.backends.endpoint.compile_caches import VARIABLES, compile_caches
from llmbench.backends.endpoint.server_process import ServerOptions, running_server

SERVER = """
import http.server, os, sys
from pathlib import Path
folder = Path(os.environ["TRITON_CACHE_DIR"])
print(folder, sorted(p.name for p in folder.iterdir()), flush=True)
(folder / "kernel").write_text("compiled")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_caches_that_are_kept_are_those_of_the_server() -> None:
    with compile_caches("keep") as variables:
        assert variables == {}


def test_empty_caches_are_folders_that_are_removed() -> None:
    with compile_caches("empty") as variables:
        assert variables.keys() == VARIABLES.keys()
        folders = [Path(folder) for folder in variables.values()]
        assert all(folder.is_dir() and not any(folder.iterdir()) for folder in folders)
        (folders[0] / "graph").write_text("compiled")
    assert not any(folder.exists() for folder in folders)


def test_no_two_caches_share_a_folder() -> None:
    with compile_caches("empty") as one, compile_caches("empty") as other:
        assert len({*one.values(), *other.values()}) == 2 * len(VARIABLES)


def started(tmp_path: Path, name: str, **more: object) -> list[str]:
    """Return the folder and the files that a server found in it."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    given = {"launch": f"{{python}} {script} {{port}}", "health": "/", **more}
    log = tmp_path / name
    with running_server(ServerOptions.model_validate(given), "m", log, lambda _: None):
        pass
    folder, _, files = log.read_text().partition(" ")
    return [folder, files.splitlines()[0]]


def test_every_server_begins_with_empty_caches(tmp_path: Path) -> None:
    runs = [started(tmp_path, name, compile_caches="empty") for name in ("a.log", "b.log")]
    assert [files for _, files in runs] == ["[]", "[]"]
    assert len({folder for folder, _ in runs}) == 2
    assert not any(os.path.exists(folder) for folder, _ in runs)  # noqa: PTH110 (texts of a log)


def test_a_server_finds_what_an_earlier_one_left_in_caches_that_are_kept(tmp_path: Path) -> None:
    environment = {"TRITON_CACHE_DIR": str(tmp_path / "cache")}
    (tmp_path / "cache").mkdir()
    runs = [started(tmp_path, name, environment=environment) for name in ("a.log", "b.log")]
    assert [files for _, files in runs] == ["[]", "['kernel']"]
