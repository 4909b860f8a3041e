"""What machine and software a run was measured on."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import pytest

from llmbench import environment


def captured(folder: Path) -> dict[str, object]:
    return environment.flat(environment.capture(folder))


def test_it_can_be_stored_as_json(tmp_path: Path) -> None:
    found = environment.capture(tmp_path)
    assert json.loads(json.dumps(found)) == found


def test_the_machine_is_described(tmp_path: Path) -> None:
    found = captured(tmp_path)
    assert found["system.python"] == platform.python_version()
    assert found["cpu.logical_cores"]
    assert found["packages.torch"]


def test_what_cannot_be_read_is_none_with_its_reason(tmp_path: Path) -> None:
    found = environment.capture(tmp_path)
    assert found["packages"]["ray"] is None
    assert found["reasons"]["packages.ray"] == "not installed"


def test_outside_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    found = environment.capture(tmp_path)
    assert found["git"]["commit"] is None
    assert "is not in a git repository" in found["reasons"]["git.commit"]


def test_the_commit_of_the_folder_is_kept_and_whether_it_was_changed(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    found = captured(tmp_path)
    assert len(str(found["git.commit"])) == 40
    assert found["git.dirty"] is False
    (tmp_path / "new").write_text("")
    assert captured(tmp_path)["git.dirty"] is True


def test_secrets_in_the_environment_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary12345")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    text = json.dumps(environment.capture(tmp_path))
    assert "canary" not in text
    assert captured(tmp_path)["variables.OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(("text", "cores"), [("200000 100000", 2.0), ("50000 100000", 0.5)])
def test_the_quota_of_a_container_is_read(tmp_path: Path, text: str, cores: float) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert environment._cpu_limit(tmp_path) == cores


def test_the_quota_of_an_older_container_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert environment._cpu_limit(tmp_path) == 1.5


@pytest.mark.parametrize("text", ["max 100000"])
def test_no_quota_is_none_with_its_reason(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    with pytest.raises(environment.Missing, match="no limit is set"):
        environment._cpu_limit(tmp_path)


@pytest.mark.parametrize(("text", "size"), [("4294967296", 2**32), ("1024", 1024)])
def test_the_memory_limit_of_a_container_is_read(tmp_path: Path, text: str, size: int) -> None:
    (tmp_path / "memory.max").write_text(text)
    assert environment._memory_limit(tmp_path) == size
