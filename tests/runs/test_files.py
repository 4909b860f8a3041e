"""Files are whole or not there, and what can be made again has a folder of its own."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from llmbench.runs.files import atomic_write, cache_folder


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.txt", "ä")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text("utf-8") == "ä"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(tmp_path / "a.txt", "\ud800")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    assert cache_folder("roof") == tmp_path / "roof"
    monkeypatch.delenv("LLMBENCH_CACHE")
    assert cache_folder("roof") == platformdirs.user_cache_path("llmbench") / "roof"
