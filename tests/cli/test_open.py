"""`llmbench open` opens the newest report, and says what to do without one."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import pytest

from llmbench.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: not opened.append(url))  # type: ignore[func-returns-value]
    return opened


def report(folder: str, age_seconds: int) -> Path:
    page = Path(folder, "report.html")
    page.parent.mkdir(parents=True)
    page.touch()
    written_at = page.stat().st_mtime - age_seconds
    os.utime(page, (written_at, written_at))
    return page


def test_the_newest_report_is_opened_and_its_path_printed(
    opened: list[str], capsys: Capture
) -> None:
    report("results/a", age_seconds=20)
    newest = report("results/nightly/b", age_seconds=10)
    assert main(["open"]) == 0
    assert opened == [newest.resolve().as_uri()]
    assert capsys.readouterr().out == f"{newest}\n"


def test_the_report_of_a_folder_comes_before_those_below_it(opened: list[str]) -> None:
    page = report("results/a", age_seconds=20)
    report("results/a/checkout", age_seconds=10)
    assert main(["open", "results/a"]) == 0
    assert opened == [page.resolve().as_uri()]


def test_without_a_browser_the_path_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    page = report("results/a", age_seconds=0)
    assert main(["open"]) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{page}\n"
    assert "no browser found; open this file in one" in printed.err


def test_without_any_report_the_message_says_how_to_measure(
    opened: list[str], capsys: Capture
) -> None:
    assert main(["open"]) == 2
    assert "results: no report found; measure first, such as with: llmbench run default" in (
        capsys.readouterr().err
    )
    assert opened == []


@pytest.mark.parametrize("file", ["runset.json", "profile.json"])
def test_results_without_a_report_have_the_command_that_writes_it(
    file: str, capsys: Capture
) -> None:
    Path("results").mkdir()
    Path("results", file).touch()
    assert main(["open"]) == 2
    assert "results: has no report.html; write it with: llmbench report results" in (
        capsys.readouterr().err
    )
