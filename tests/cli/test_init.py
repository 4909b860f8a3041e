"""`llmbench init` writes a scenario that can be measured."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from llmbench.cli import main
from llmbench.scenario import file as scenario_file

Capture = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    """A terminal on which someone types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", Terminal(text))
    return main(["init"])


def test_the_flags_are_written_as_a_scenario(capsys: Capture) -> None:
    assert main(["init", "chat.yaml", "--model", "random:tiny", "--backends", "fake"]) == 0
    assert capsys.readouterr().out.endswith("measure it with\n  llmbench run chat.yaml\n")
    source = scenario_file.load("chat.yaml")
    assert source.scenario.name == "chat"
    assert [case.backend for case in source.cases] == ["fake"]
    assert main(["run", "chat.yaml", "--quiet", "--out", "out", "--set", "repeats=1"]) == 0


@pytest.mark.parametrize("load", [["--rate", "4"], ["--concurrency", "4"], []])
def test_what_is_commented_out_is_valid(load: list[str]) -> None:
    assert main(["init", "chat.yaml", "--model", "random:tiny", *load]) == 0
    lines = Path("chat.yaml").read_text().splitlines()
    (heading,) = (index for index, line in enumerate(lines) if line.startswith("# More keys"))
    kept = [line.removeprefix("# ") for line in lines if line != lines[heading]]
    Path("chat.yaml").write_text("\n".join(kept))
    scenario = scenario_file.load("chat.yaml").scenario
    assert scenario.slo == {"ttft_p99": 0.5, "tpot_p99": 0.05}
    assert scenario.quality
    assert scenario.sweep


def test_three_questions_are_asked_on_a_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed("random:tiny\n\n 8/s \n", monkeypatch) == 0
    assert capsys.readouterr().out.count("]: ") == 3
    spec = scenario_file.load("scenario.yaml").spec
    assert spec["model"] == "random:tiny"
    assert spec["backends"] == ["eager", "compiled"]
    assert spec["load"] == {"kind": "poisson", "rate": "8/s"}


def test_a_url_for_an_answer_is_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed("http://localhost:8000\n2\n", monkeypatch) == 0
    spec = scenario_file.load("scenario.yaml").spec
    assert spec["backends"] == [{"kind": "endpoint", "url": "http://localhost:8000"}]


def test_answers_that_end_early_write_nothing(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed("random:tiny\n", monkeypatch) == 2
    assert "no answer; nothing was written" in capsys.readouterr().err
    assert not Path("scenario.yaml").exists()


def test_nothing_is_asked_without_a_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("random:tiny\n"))
    assert main(["init"]) == 2
    assert "stdin is not a terminal; specify --model or --url" in capsys.readouterr().err


def test_an_existing_file_is_kept(capsys: Capture) -> None:
    Path("scenario.yaml").write_text("mine")
    assert main(["init"]) == 2
    assert "scenario.yaml: exists; choose another name, or" in capsys.readouterr().err
    assert main(["init", "--model", "random:tiny", "--force"]) == 0
    assert scenario_file.load("scenario.yaml").scenario.name == "scenario"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rate", "8"], "specify --model or --url"),
        (["--model", "random:tiny", "--rate", "-1"], "--rate -1: load.rate: must be greater"),
    ],
)
def test_a_mistake_writes_nothing(flags: list[str], message: str, capsys: Capture) -> None:
    assert main(["init", *flags]) == 2
    assert f"llmbench: {message}" in capsys.readouterr().err
    assert not Path("scenario.yaml").exists()
