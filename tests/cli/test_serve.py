"""``llmbench serve``."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_sets import stored

from llmbench.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stored(tmp_path / "results" / "monday")
    return tmp_path / "results"


@contextmanager
def served(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "llmbench", "serve", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_it_prints_the_port_answers_there_and_ends_with_an_interrupt(folder: Path) -> None:
    with served(str(folder), "--port", "0") as process:
        line = first_line(process)
        assert line.startswith(f"1 run set of {folder} at http://127.0.0.1:")
        (url,) = re.findall(r"http://\S+", line)
        with urllib.request.urlopen(url, timeout=60) as reply:  # noqa: S310 (our own)
            assert b"monday" in reply.read()
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
    assert (process.returncode, printed) == (130, "")


def test_a_public_host_is_a_warning(folder: Path) -> None:
    with served(str(folder), "--port", "0", "--host", "0.0.0.0") as process:  # noqa: S104 (tested)
        first_line(process)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
    assert "anyone on the network can read all results" in printed


def test_a_missing_folder_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
