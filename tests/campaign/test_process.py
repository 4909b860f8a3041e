"""The installations that workers run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from llmbench.campaign.process import Installation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def in_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `python -m llmbench` find the package in the working directory."""
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


@pytest.mark.usefixtures("in_the_source")
def test_workers_of_a_package_that_is_not_installed_find_it() -> None:
    assert Installation().environment["PYTHONPATH"] == f"{ROOT}{os.pathsep}before"


@pytest.mark.usefixtures("in_the_source")
def test_another_interpreter_has_its_own_package() -> None:
    assert Installation(python="/other/python").environment["PYTHONPATH"] == "before"


@pytest.mark.usefixtures("in_the_source")
def test_workers_do_not_search_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Installation().environment["PYTHONPATH"] == "before"
