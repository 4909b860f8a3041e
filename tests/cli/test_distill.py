"""``llmbench distill`` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmbench.cli import main

SMALL = [
    "--teacher", "builtin:tiny", "--layers", "1", "--steps", "2", "--batch", "1", "--tokens", "8",
    "--texts", "2",
]  # fmt: skip


def test_it_writes_a_student_and_prints_its_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", *SMALL, "--out", str(tmp_path / "student"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == str(tmp_path / "student")
    assert set(printed["held_out_cross_entropy"]) == {"teacher", "student_before", "student"}


def test_it_prints_a_table_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "student"
    assert main(["distill", *SMALL, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "student, before" in shown.out
    assert "nats/token" in shown.out
    stages = [line.removeprefix(f"{out}: ") for line in shown.err.splitlines()]
    assert stages[0] == "loading the teacher"
    assert stages[-1] == "measuring the student"


def test_quiet_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", *SMALL, "--out", str(tmp_path / "student"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--out", "new"], "--teacher: Field required; --layers: Field required"),
        ([*SMALL, "--steps", "none", "--out", "new"], "--steps: Input should be a valid integer"),
        (SMALL, "--out is missing; specify a new folder for the student"),
        ([*SMALL, "--out", "."], "exists; choose another folder"),
        (["--resume", "nowhere"], "nowhere: has no interrupted training run"),
        (["--resume", "nowhere", "--layers", "2"], "remove the other arguments"),
        ([*SMALL, "--out", "begun"], "resume it with --resume begun"),
    ],
)
def test_bad_input_has_a_message_and_writes_nothing(
    given: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "begun.training").mkdir()
    assert main(["distill", *given]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["begun.training"]
