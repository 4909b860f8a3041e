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
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from llmbench.backends.endpoint.conformance.wire import done, event, usage
from llmbench.cli import main

KEY, TOKEN = "sk-canary/Qx7Zp2+Lm9Vt4", "tkn-canary-Hw3Jr8=Bd5Nf1"
WINDOW = 8  # characters of a secret that are too many to show

SCENARIO = """\
name: secrets
description: A server that repeats what it was told in confidence.
model: served:echo
workload:
  kind: mixed
  classes:
    any: {workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}}
    own:
      headers: {X-Own-Token: "${MY_TOKEN}"}
      body: {key: "${MY_TOKEN}"}
      workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: closed, concurrency: 2}
requests: 150
keep_outputs: true
collect: [cpu]
backends:
  - {kind: endpoint, url: "URL", headers: {X-Api-Key: "${MY_TOKEN}"}, body: {user: "${MY_TOKEN}"}}
"""

# -- what a server may do with a secret ------------------------------------------------------------

FORMS: list[Callable[[str], str]] = [
    str,
    lambda secret: secret[:-6],
    lambda secret: secret[6:],
    lambda secret: "".join(f"\\u{ord(character):04x}" for character in secret),
    lambda secret: json.dumps(json.dumps(secret)),
    lambda secret: quote(secret, safe=""),
    lambda secret: "".join(f"%{ord(character):02X}" for character in secret),
    lambda secret: base64.b64encode(secret.encode()).decode(),
    lambda secret: base64.b64encode(b"u:" + secret.encode() + b":").decode(),
    lambda secret: base64.urlsafe_b64encode(b"x" + secret.encode()).decode(),
    lambda secret: f"   {secret}\t ",
    lambda secret: "x" * 290 + secret,  # at the end of what is kept of an error
    lambda secret: secret * 200,
]
Said = tuple[int, str, bytes, str]  # status, its reason, body and content type
STREAM, JSON = "text/event-stream", "application/json"


def _chunk(**fields: Any) -> bytes:
    return event({"choices": [{"delta": {"content": "a"}}], **fields})


WAYS: list[Callable[[str], Said]] = [
    lambda said: (500, "Error", json.dumps({"error": {"message": said}}).encode(), JSON),
    lambda said: (400, "Error", json.dumps({"detail": [said]}).encode(), JSON),
    lambda said: (502, "Error", f"<html>{said}</html>".encode(), "text/html"),
    lambda said: (503, f"No {said}", b"", JSON),
    lambda said: (200, "OK", b"what", f"text/{said}"),
    lambda said: (200, "OK", event({"error": {"message": said}}), STREAM),
    lambda said: (200, "OK", event({"error": said}), STREAM),
    lambda said: (200, "OK", f"data: {said}\n\n".encode(), STREAM),
    lambda said: (200, "OK", _answer(said) * 4 + event(usage(4)) + done(), STREAM),
    lambda said: (200, "OK", _chunk(model=said, id=said) * 4 + event(usage(4)) + done(), STREAM),
    lambda said: (200, "OK", _chunk() + event({"usage": {"prompt_tokens": said}}) + done(), STREAM),
    lambda said: (200, "OK", event({"choices": [{"finish_reason": said}]}) + done(), STREAM),
]


def _answer(said: str) -> bytes:
    return event({"choices": [{"delta": {"content": f" {said} "}}]})


class Gossip(BaseHTTPRequestHandler):
    """Repeats the secrets wherever a response has room for them, in every form in turn."""

    protocol_version = "HTTP/1.1"
    ways = tuple(product(WAYS, FORMS))
    asked = 0

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        secrets = [{"id": form(self._secrets()[0])} for form in FORMS]
        self._send(200, "OK", json.dumps({"data": [{"id": "echo"}, *secrets]}).encode(), JSON)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        way, form = self.ways[Gossip.asked % len(self.ways)]
        Gossip.asked += 1
        self._send(*way(" ".join(map(form, self._secrets()))))

    def _secrets(self) -> list[str]:
        token = self.headers["X-Own-Token"] or self.headers["X-Api-Key"]
        return [self.headers["Authorization"].removeprefix("Bearer "), token]

    def _send(self, status: int, reason: str, body: bytes, kind: str) -> None:
        self.send_response(status, re.sub(r"[^ -~]", " ", reason))
        self.send_header("Content-Type", re.sub(r"[^ -~]", " ", kind))
        self.send_header("X-Request-Id", self._secrets()[0])
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


# -- what is stored and shown ----------------------------------------------------------------------


def llmbench(*arguments: str, folder: Path) -> str:
    """Run the command with the secrets in its environment; return all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "llmbench", *arguments],
        cwd=folder,
        env={**os.environ, "OPENAI_API_KEY": f"{KEY} ", "MY_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def write(folder: Path, url: str, **replaced: str) -> None:
    text = SCENARIO.replace("URL", url)
    for old, new in replaced.items():
        text = text.replace(old, new)
    (folder / "s.yaml").write_text(text)


@pytest.fixture(scope="module")
def measured(url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results of a run against the server, and what the run printed."""
    folder = tmp_path_factory.mktemp("secrets")
    write(folder, url)
    return folder / "out", llmbench("run", "s.yaml", "--out", "out", folder=folder)


Command = Callable[..., str]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command in this process and in an empty folder; return all that it printed."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        main(arguments)
        return "".join(capsys.readouterr())

    return run


def readable(path: Path) -> str:
    """Return all that can be read in a file, compressed parts included."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return f"{table.to_pylist()} {table.schema.metadata}"
    text = path.read_text("utf-8")
    packed = re.findall(r'type="application/gzip;base64"[^>]*>([^<]+)<', text)
    return text + "".join(gzip.decompress(base64.b64decode(part)).decode() for part in packed)


def leaks(text: str) -> list[str]:
    """Return the fragments of secrets in a text, in any form."""
    forms = {form(secret).strip() for form in FORMS[:-3] for secret in (KEY, TOKEN)}
    fragments = {
        form[at : at + _size(form)] for form in forms for at in range(len(form) - _size(form) + 1)
    }
    return sorted(fragment for fragment in fragments if fragment in text)


def _size(form: str) -> int:
    """Return the length of WINDOW characters of a secret in a form."""
    return {"\\u": 6 * WINDOW, "%7": 3 * WINDOW}.get(form[:2], WINDOW + form.count("%"))


def test_no_secret_is_in_any_byte_that_is_stored_or_shown(
    measured: tuple[Path, str], command: Command
) -> None:
    out, shown = measured
    shown += command("report", str(out), "--json")
    shown += command("export", str(out), "--what", "records", "--format", "csv")
    assert "http-500" in shown  # the errors that repeat the secrets are there
    assert "***" in shown
    stored = {path: readable(path) for path in out.rglob("*") if path.is_file()}
    assert {path.name for path in stored} >= {"records.parquet", "run.json", "report.html"}
    assert leaks(shown) == []
    assert {path: fragments for path, text in stored.items() if (fragments := leaks(text))} == {}


def test_an_answer_that_repeats_a_secret_is_kept_without_it(measured: tuple[Path, str]) -> None:
    from llmbench import models  # noqa: PLC0415 (imports transformers)
    from llmbench.scenario.schema import ModelOptions  # noqa: PLC0415 (the same)

    tokenizer = models.load_tokenizer(ModelOptions(source="builtin:tiny"))
    (path,) = measured[0].rglob("records.parquet")
    answers = [ids for ids in pq.read_table(path)["output_ids"].to_pylist() if ids]
    said = "".join(tokenizer.decode(ids) for ids in answers)
    assert answers
    assert leaks(said) == []


def test_a_model_that_is_not_served_is_refused_without_secrets(
    url: str, tmp_path: Path, command: Command
) -> None:
    write(tmp_path, url, **{"served:echo": "served:nobody"})
    shown = command("run", "s.yaml", "--out", "out")
    assert "has no model 'nobody'" in shown
    assert leaks(shown) == []
    assert not (tmp_path / "out").exists()


def test_a_check_of_a_server_shows_no_secret(url: str, command: Command) -> None:
    shown = command("conformance", "--url", url, "--model", "echo", "--json")
    assert '"passed"' in shown
    assert leaks(shown) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('X-Api-Key: "${MY_TOKEN}"', f'Authorization: "Bearer {KEY}"'),
        ('X-Api-Key: "${MY_TOKEN}"', f'Cookie: "a=1; session={KEY}"'),
        ('user: "${MY_TOKEN}"', f'api_key: "{KEY}"'),
        ('user: "${MY_TOKEN}"', f'user: "{KEY}"'),
        ("http://", f"http://me:{quote(KEY, safe='')}@"),
    ],
)
def test_a_secret_in_a_scenario_file_is_refused_and_not_shown(
    url: str, tmp_path: Path, command: Command, old: str, new: str
) -> None:
    write(tmp_path, url, **{old: new})
    shown = command("run", "s.yaml", "--out", "out")
    assert re.search("environment variable|contains the value of|no credentials", shown)
    assert leaks(shown) == []
    assert not (tmp_path / "out").exists()


def test_a_password_in_a_url_of_a_server_to_check_is_refused_and_not_shown(
    command: Command,
) -> None:
    address = f"http://me:{quote(KEY, safe='')}@localhost"
    shown = command("conformance", "--url", address)
    assert shown == "llmbench: --url: expected no credentials; use `api_key_env` or `headers`\n"
