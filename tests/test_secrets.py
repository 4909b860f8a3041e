"""No secret is in any byte that is stored or shown, whatever a server does with it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmbench.backends.endpoint.conformance.wire import done, event, usage

KEY, TOKEN = "sk-canary-0123456789", "canary-header-9876"

SCENARIO = """\
name: secrets
description: A server that repeats what it was told in confidence.
model: served:echo
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: closed, concurrency: 2}
requests: 12
keep_outputs: true
collect: [cpu]
backends:
  - {kind: endpoint, url: "URL", headers: {X-Api-Key: "${MY_TOKEN}"}}
"""


class Gossip(BaseHTTPRequestHandler):
    """Repeats the secrets in errors before and after HTTP 200, in answers and in broken chunks."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, b'{"data": [{"id": "echo"}]}', "application/json")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        secret = f"{self.headers['Authorization']} {self.headers['X-Api-Key']}"
        said = event({"choices": [{"delta": {"content": secret}}]})
        stream = "text/event-stream"
        ways = [
            (500, json.dumps({"error": {"message": secret}}).encode(), "application/json"),
            (200, event({"error": {"message": secret}}), stream),
            (200, said * 4 + event(usage(4)) + done(), stream),
            (200, f"data: {secret}\n\n".encode(), stream),
        ]
        Gossip.asked += 1
        self._send(*ways[Gossip.asked % len(ways)])

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gossip) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def llmbench(*arguments: str, folder: Path) -> str:
    """Run the command with the secrets in its environment; return all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "llmbench", *arguments],
        cwd=folder,
        env={**os.environ, "OPENAI_API_KEY": KEY, "MY_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def measured(url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results of a run against the server, and what the run printed."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "s.yaml").write_text(SCENARIO.replace("URL", url))
    return folder / "out", llmbench("run", "s.yaml", "--out", "out", folder=folder)


def readable(path: Path) -> str:
    """Return all that can be read in a file, compressed parts included."""
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    text = path.read_text("utf-8")
    packed = re.findall(r'type="application/gzip;base64"[^>]*>([^<]+)<', text)
    return text + "".join(gzip.decompress(base64.b64decode(part)).decode() for part in packed)


def test_no_secret_is_in_any_byte_that_is_stored_or_shown(measured: tuple[Path, str]) -> None:
    out, shown = measured
    shown += llmbench("report", "out", "--json", folder=out.parent)
    shown += llmbench("export", "out", "--what", "records", "--format", "csv", folder=out.parent)
    assert "http-500" in shown  # the errors that repeat the secrets are there
    stored = {path: readable(path) for path in out.rglob("*") if path.is_file()}
    assert {path.name for path in stored} >= {"records.parquet", "run.json", "report.html"}
    for secret in (KEY, TOKEN):
        assert secret not in shown
        assert [path for path, text in stored.items() if secret in text] == []


def test_an_answer_that_repeats_a_secret_is_kept_without_it(measured: tuple[Path, str]) -> None:
    from llmbench import models  # noqa: PLC0415 (imports transformers)
    from llmbench.scenario.schema import ModelOptions  # noqa: PLC0415 (the same)

    tokenizer = models.load_tokenizer(ModelOptions(source="builtin:tiny"))
    (path,) = measured[0].rglob("records.parquet")
    answers = [ids for ids in pq.read_table(path)["output_ids"].to_pylist() if ids]
    said = "".join(tokenizer.decode(ids) for ids in answers)
    assert answers
    assert "canary" not in said


def test_a_key_in_a_scenario_file_is_refused(url: str, tmp_path: Path) -> None:
    written = SCENARIO.replace("URL", url).replace(
        'X-Api-Key: "${MY_TOKEN}"', f'Authorization: "Bearer {KEY}"'
    )
    (tmp_path / "s.yaml").write_text(written)
    shown = llmbench("run", "s.yaml", "--out", "out", folder=tmp_path)
    assert "environment" in shown
    assert not (tmp_path / "out").exists()
