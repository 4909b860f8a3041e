"""Logs are written to stderr on request, and only then."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmbench.cli import main

Capture = pytest.CaptureFixture[str]
RUN = ["run", "--model", "random:tiny", "--backends", "fake", "--requests", "5", "--quiet"]
SMALL = ["--set", "repeats=1", "--set", "collect=[]"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMBENCH_LOG", raising=False)
    yield
    logging.getLogger("llmbench").handlers.clear()


def test_verbose_logs_stages(capsys: Capture) -> None:
    assert main([*RUN, *SMALL, "--verbose"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert any(line.endswith("INFO llmbench.campaign.process: measuring") for line in lines)
    assert not any(" DEBUG " in line for line in lines)


@pytest.mark.parametrize(("level", "times"), [("debug", 1), ("Info", 1), ("error", 0)])
def test_the_level_comes_from_the_environment(
    level: str, times: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_LOG", level)
    assert main([*RUN, *SMALL]) == 0
    assert capsys.readouterr().err.count("INFO llmbench.campaign.process: measuring") == times


def test_nothing_is_logged_without_a_request(capsys: Capture) -> None:
    assert main([*RUN, *SMALL]) == 0
    assert capsys.readouterr() == ("", "")


def test_an_unknown_level_is_refused(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_LOG", "loud")
    assert main(["list", "backends"]) == 2
    expected = "LLMBENCH_LOG: expected debug, info, warning, error, critical, found 'loud'"
    assert capsys.readouterr().err == f"llmbench: {expected}\n"
