"""Completion in the shell, by the protocol of argcomplete's shell functions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmbench.cli import main

PROGRAM = [sys.executable, "-c", "from llmbench.cli import main; main()"]

Complete = Callable[[str], list[str]]


@pytest.fixture
def completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """What the shell would offer at the end of a line, in an empty folder."""
    answer, folder = tmp_path / "completed", tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setenv("_ARGCOMPLETE_STDOUT_FILENAME", str(answer))

    def complete(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        subprocess.run(PROGRAM, check=True)
        return answer.read_text().split("\013")

    return complete


def test_commands_and_flags_are_completed(completed: Complete) -> None:
    assert completed("llmbench pro") == ["profile "]
    assert completed("llmbench run --concu") == ["--concurrency "]


@pytest.mark.parametrize("command", ["run", "profile", "peak", "simulate", "check", "aa"])
def test_scenarios_are_completed_by_name(command: str, completed: Complete) -> None:
    assert completed(f"llmbench {command} def") == ["default "]


def test_scenarios_are_those_that_are_listed_and_yaml_files(completed: Complete) -> None:
    Path("scenarios").mkdir()
    for path in ("scenarios/chat.yaml", "tasks.yaml", "tasks.txt"):
        Path(path).touch()
    assert completed("llmbench run scenarios/") == ["scenarios/chat.yaml "]
    tasks = [name.strip() for name in completed("llmbench run tasks")]
    assert {"tasks.yaml", "tasks/translation"} <= set(tasks)
    assert "tasks.txt" not in tasks


def test_backends_are_completed_at_the_end_of_a_list(completed: Complete) -> None:
    assert completed("llmbench run --backends ea") == ["eager "]
    assert completed("llmbench init --backends eager,comp") == ["eager,compiled "]
    assert "eager,eager" not in completed("llmbench run --backends eager,")


def test_without_argcomplete_the_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main([]) == 2
    message = "completion needs argcomplete; install it with: pip install 'llmbench[completion]'"
    assert capsys.readouterr().err == f"llmbench: {message}\n"
