"""Output that cannot be shown or written never ends a measurement."""

from __future__ import annotations

import codecs
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from llmbench.cli import main, streams
from llmbench.runs import store

SCENARIO = """\
name: simulated
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: poisson, rate: 4/s}
requests: 10
collect: []
backends: [{kind: fake, name: 'größe µ 中'}]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "simulated.yaml"
    path.write_text(SCENARIO, "utf-8")
    return path


def shell(path: Path, redirection: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the scenario with redirected output; return the exit code and all that was written."""
    command = [sys.executable, "-m", "llmbench", "run", str(path), "--out", str(out(path))]
    script = f'set -o pipefail; "$@" {redirection}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert b"Traceback" not in done.stdout, done.stdout.decode(errors="replace")
    assert [run.status for run in store.read(out(path)).runs] == ["done"]
    assert (out(path) / "report.html").is_file()
    return done.returncode, done.stdout.decode(errors="replace")


def out(path: Path) -> Path:
    return path.parent / "out"


def slow(*values: object) -> ParameterSet:
    """Return parameters of a slow test."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [
        (">/dev/full", 1, "llmbench: stdout: No space left on device; the rest of the output"),
        slow(">&-", 1, "llmbench: stdout: Bad file descriptor; the rest of the output is lost"),
        slow("2>/dev/full", 0, "report   "),
        slow("2>&-", 0, "report   "),
        slow(">&- 2>&- <&-", 1, ""),
        slow(">/dev/full 2>/dev/full", 1, ""),
        ("| true", 141, "llmbench: stdout: Broken pipe; the rest of the output is lost"),
    ],
)
def test_a_stream_that_takes_nothing_costs_only_the_output(
    path: Path, redirection: str, code: int, words: str
) -> None:
    returned, written = shell(path, redirection)
    assert (returned, words in written) == (code, True), written


@pytest.mark.processes
@pytest.mark.slow
def test_a_closed_stream_without_output_is_no_failure(path: Path) -> None:
    assert shell(path, ">&-", "--quiet") == (0, "")


@pytest.mark.processes
@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_a_run_ends_well_whatever_the_encoding_of_the_terminal(path: Path, encoding: str) -> None:
    code, written = shell(path, "", PYTHONIOENCODING=encoding)
    assert code == 0
    assert "report   " in written
    assert "\\u4e2d" in written


def shown(text: str, encoding: str) -> str:
    """Return a text as a terminal with another encoding shows it."""
    codecs.register_error(streams.ASCII_FORMS, streams.ascii_form)
    return text.encode(encoding, streams.ASCII_FORMS).decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ascii", "4.2 us, p50 +, 3 x 2 -> 6, 95 %, b\\u00f6se \\u4e2d \\ud83d\\ude00 \\udc80"),
        ("latin-1", "4.2 µs, p50 +, 3 × 2 -> 6, 95\xa0%, böse \\u4e2d \\ud83d\\ude00 \\udc80"),
        ("utf-8", "4.2 µs, p50 †, 3 × 2 → 6, 95\N{NO-BREAK SPACE}%, böse 中 😀 \\udc80"),
    ],
)  # fmt: skip
def test_symbols_degrade_to_ascii_forms(encoding: str, text: str) -> None:
    written = "4.2 µs, p50 †, 3 × 2 → 6, 95\N{NO-BREAK SPACE}%, böse 中 😀 \udc80"
    assert shown(written, encoding) == text


class Full(io.StringIO):
    """A stream on a full disk; it has no descriptor."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def test_help_that_cannot_be_written_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 1
    assert "stdout: No space left on device" in capsys.readouterr().err


def test_an_exit_code_of_its_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    assert main(["run", "nowhere.yaml"]) == 2
    assert main(["list"]) == 1
    assert isinstance(sys.stdout, Full)
