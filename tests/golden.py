"""What stored run sets amount to, frozen: `python tests/golden.py` makes the files again.

The run sets under data/golden/ were written by version 0.1.0 (schema 4). Every other file there is
the output of one command on them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmbench.cli import main

GOLDEN = Path(__file__).parent / "data" / "golden"
SETS = ("fake", "slower", "eager", "sessions", "endpoint", "gate")
SCRIPT = re.compile(r'<script type="application/json"([^>]*)>(.*?)</script>', re.DOTALL)

COMMANDS = {
    **{f"{name}.summary.json": ["report", name, "--json"] for name in SETS},
    "fake.summary.csv": ["export", "fake", "--format", "csv"],
    "fake.summary.export.json": ["export", "fake", "--format", "json"],
    "fake.summary.md": ["export", "fake", "--format", "markdown"],
    "fake.pytest-benchmark.json": ["export", "fake", "--format", "pytest-benchmark"],
    "eager.runs.csv": ["export", "eager", "--format", "csv", "--what", "runs"],
    "sessions.records.csv": ["export", "sessions", "--format", "csv", "--what", "records"],
    "endpoint.records.csv": ["export", "endpoint", "--format", "csv", "--what", "records"],
    "compare.json": ["compare", "fake", "slower", "--json"],
    "compare.md": ["compare", "fake", "slower", "--markdown"],
    "check.json": [
        "check", "gate.yaml", "--baseline", "gate", "--out", "check", "--json", "--quiet",
        "--set", "backends=[{kind: fake, prefill: 22 ms, per_token: 6 ms, service: exponential}]",
    ],
}  # fmt: skip


def outputs(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the output of every command, run on a copy of the stored sets."""
    for name in (*SETS, "check"):
        shutil.copytree(GOLDEN / name, folder / name)
    shutil.copy(GOLDEN / "gate.yaml", folder)
    with contextlib.chdir(folder):
        for name, arguments in COMMANDS.items():
            yield name, _printed(arguments)
        yield "sessions.page.json", _page_data(folder / "sessions" / "report.html")


def _printed(arguments: list[str]) -> str:
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(io.StringIO()):
        main(arguments)
    return stdout.getvalue()


def _page_data(page: Path) -> str:
    """The data of every figure on a page, as indented JSON."""
    html = page.read_text("utf-8")
    figures = {tag.strip(): json.loads(text) for tag, text in SCRIPT.findall(html)}
    return json.dumps(figures, indent=0, sort_keys=True)


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in outputs(Path(scratch)):
            (GOLDEN / name).write_text(text, "utf-8")
            sys.stderr.write(f"{name}: {len(text):,} characters\n")
