"""Only one process measures into a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import InputError
from llmbench.runs.lock import FILE, locked

KILLED = """
import os, signal, sys
from pathlib import Path
from llmbench.runs.lock import locked
with locked(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_locked_until_the_context_ends(tmp_path: Path) -> None:
    with locked(tmp_path) as reason:
        assert reason is None
        assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_a_locked_folder_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    holder = f"process {os.getpid()} on {platform.node()} is measuring into it; wait until"
    with locked(tmp_path):
        with pytest.raises(InputError) as refused, locked(tmp_path):
            pass
        assert f"{tmp_path}: {holder}" in str(refused.value)
        assert (tmp_path / FILE).exists()


def test_what_is_in_a_lock_file_is_not_shown_unless_it_is_a_process(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("\x1b[2J" * 100)
        file.flush()
        with pytest.raises(InputError, match="another process is measuring"), locked(tmp_path):
            pass


def test_the_lock_of_a_process_that_was_killed_is_no_lock(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert (tmp_path / FILE).read_text().startswith("process ")
    with locked(tmp_path) as reason:
        assert reason is None


def test_a_lock_file_that_its_holder_removes_meanwhile_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    calls: list[int] = []

    def late(file: Any, operation: int) -> None:
        if not calls:
            (tmp_path / FILE).unlink()
        calls.append(operation)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        assert len(calls) == 2
        assert (tmp_path / FILE).read_text().startswith(f"process {os.getpid()} ")


def test_a_file_system_without_locks_is_the_reason_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_: Any, __: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path) as reason:
        assert reason == f"{tmp_path}: its file system has no locks (No locks available)"


def test_a_folder_that_is_created_and_stays_empty_is_removed(tmp_path: Path) -> None:
    with locked(tmp_path / "empty"):
        pass
    with locked(tmp_path / "used"):
        (tmp_path / "used" / "run").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="cannot be written: File exists"),
        locked(tmp_path / "file"),
    ):
        pass


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / FILE).symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
