"""Folders of runs are removed once their process has ended, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmbench.fleet import run_folders

OWNER = """\
import sys, time
from llmbench.fleet import run_folders
folder, _ = run_folders.created()
(folder / "records").write_text("data")
print(folder, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@contextmanager
def owner() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a folder, and the folder."""
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_live_one_is_kept() -> None:
    with owner() as (_, live), owner() as (victim, orphan):
        run_folders.remove_orphans()
        before = live.is_dir(), orphan.is_dir()
        victim.kill()
        victim.wait()
        run_folders.remove_orphans()
        assert (before, live.is_dir(), orphan.is_dir()) == ((True, True), True, False)


def test_a_folder_is_kept_from_its_creation_until_its_lock_is_closed() -> None:
    folder, lock = run_folders.created()
    run_folders.remove_orphans()
    assert folder.is_dir()
    os.close(lock)
    run_folders.remove_orphans()
    assert not folder.exists()


def test_links_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "llmbench-run-another-host-1").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / f"{run_folders.PREFIX}link").symlink_to(tmp_path / "precious")
    run_folders.remove_orphans()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_that_another_process_removed_meanwhile_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "gone", tmp_path / "kept"]
    paths[1].mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(paths.pop(0)))
    folder, lock = run_folders.created()
    os.close(lock)
    assert folder == tmp_path / "kept"
