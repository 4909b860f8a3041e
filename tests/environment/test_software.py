"""Libraries, threads and the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llmbench.environment import software

ReadAll = Callable[[dict[str, Callable[[], Any]]], tuple[dict[str, Any], dict[str, str]]]


def test_a_library_that_is_not_installed_has_the_reason(
    read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "PACKAGES", ("no-such-package", "numpy"))
    values, reasons = read_all(software.package_readers())
    assert values == {"no-such-package": None, "numpy": np.__version__}
    assert reasons == {"it.no-such-package": "not installed"}


def test_torchs_threads_are_known_only_where_it_is_loaded(
    read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 6))
    assert read_all(software.thread_readers())[0] == {"torch": 6}
    monkeypatch.delitem(sys.modules, "torch")
    assert read_all(software.thread_readers())[1] == {
        "it.torch": "torch is not loaded in this process"
    }


def test_idle_threads_of_workers_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert software.worker_variables()["OMP_WAIT_POLICY"] == "PASSIVE"


def test_a_wait_policy_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert software.worker_variables() == dict(os.environ)
    assert software.threads_spin()


def test_programs_that_a_worker_starts_get_the_variables_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = dict(os.environ)
    for name, value in software.worker_variables().items():
        monkeypatch.setenv(name, value)
    assert not software.threads_spin()
    assert software.user_variables() == before


def test_programs_that_a_worker_starts_keep_a_wait_policy_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert software.user_variables()["OMP_WAIT_POLICY"] == "passive"


def test_outside_a_repository_there_is_no_commit(captured: dict[str, Any]) -> None:
    assert captured["git"] == {"commit": None, "branch": None, "dirty": None}
    assert "is not in a git repository" in captured["reasons"]["git.commit"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "-C", tmp_path, "init", "-q", "-b", "trunk"], check=True)
    return tmp_path


def commit(repository: Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    words = ["commit", "-q", "--allow-empty", "-m", "first"]
    subprocess.run(["git", "-C", repository, *who, *words], check=True)


def test_the_commit_of_the_folder_is_kept_and_whether_it_was_changed(
    read_all: ReadAll, repository: Path
) -> None:
    commit(repository)
    values, reasons = read_all(software.git_readers(repository))
    assert reasons == {}
    assert len(values["commit"]) == 40
    assert (values["branch"], values["dirty"]) == ("trunk", False)
    (repository / "new").write_text("")
    assert read_all(software.git_readers(repository))[0]["dirty"] is True


def test_a_repository_without_a_commit_says_so(read_all: ReadAll, repository: Path) -> None:
    assert read_all(software.git_readers(repository))[1] == {
        "it.commit": "the repository has no commit yet"
    }


def test_a_detached_head_is_on_no_branch(read_all: ReadAll, repository: Path) -> None:
    commit(repository)
    subprocess.run(["git", "-C", repository, "checkout", "-q", "--detach"], check=True)
    assert read_all(software.git_readers(repository))[1] == {
        "it.branch": "no branch is checked out"
    }


def test_a_machine_without_git_says_so(
    read_all: ReadAll,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
    assert set(read_all(software.git_readers(repository))[1].values()) == {"git is not installed"}
