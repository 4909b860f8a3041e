"""The installations that workers run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from llmbench.campaign.observer import SilentObserver
from llmbench.campaign.process import STORING, THIS, Installation, Relay, _StartsNext

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


class Recording(Relay):
    """A relay that counts the workers that it starts."""

    starts = 0

    def start(self) -> None:
        self.starts += 1


@pytest.mark.parametrize(("has_more", "starts"), [(True, 1), (False, 0)])
def test_the_next_worker_starts_when_a_run_is_measured_and_another_follows(
    *, has_more: bool, starts: int
) -> None:
    relay = Recording()
    relay.has_more = has_more
    listener = _StartsNext(SilentObserver(), relay)
    for stage in ("reading the workload", "measuring"):
        listener.stage(stage)
        assert relay.starts == 0
    listener.stage(STORING)
    assert relay.starts == starts


def test_a_worker_that_is_not_needed_ends_with_its_relay() -> None:
    with THIS.worker() as unused:
        assert unused.child.pid
        assert unused.child._guarded.process.poll() is None
    assert unused.child._guarded.process.poll() is not None
