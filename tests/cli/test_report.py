"""``llmbench report`` writes reports of stored results again."""

from __future__ import annotations

import json
from pathlib import Path

import profiles
import pytest
from small_sets import stored

from llmbench.cli import main
from llmbench.runs import profile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run set of one run."""
    return stored(tmp_path / "results")


def test_it_writes_the_page_in_the_folder_and_prints_the_table(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert (folder / "report.html").read_text("utf-8").startswith("<!doctype html>")
    assert "1 of 1 run measured" in printed
    assert f"report   {folder / 'report.html'}" in printed


def test_it_writes_to_the_given_file(folder: Path, tmp_path: Path) -> None:
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").exists()
    assert not (folder / "report.html").exists()


def test_several_folders_get_a_report_each(folder: Path, tmp_path: Path) -> None:
    other = stored(tmp_path / "other")
    assert main(["report", str(folder), str(other)]) == 0
    assert (folder / "report.html").exists()
    assert (other / "report.html").exists()


def test_json_is_the_summary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder), "--json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    rows = {row["metric"]: row for row in printed["summary"]}
    assert rows["ttft_p50"]["value"] == 0.25
    assert rows["memory_weights_bytes"]["value"] is None


def test_one_file_for_several_folders_is_bad_input(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(folder), str(folder), "--out", "x.html"]) == 2
    assert "--out accepts a single folder" in capsys.readouterr().err


def test_a_folder_without_results_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "not a results folder of llmbench" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_bad_input(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(folder), "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert "choose another file with --out" in capsys.readouterr().err


def test_a_history_is_included_in_the_page(folder: Path, tmp_path: Path) -> None:
    nights = str(tmp_path / "history.jsonl")
    assert main(["history", nights, "--add", str(folder)]) == 0
    assert main(["report", str(folder), "--history", nights]) == 0
    assert '<h2 id="history">' in (folder / "report.html").read_text("utf-8")


def test_a_missing_history_leaves_the_page_unchanged(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(folder), "--history", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: cannot be read" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


def test_a_profile_has_no_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile.create(profiles.profile(tmp_path / "why"))
    assert main(["report", str(tmp_path / "why"), "--history", "history.jsonl"]) == 2
    assert "is a profile; --history and --profile need a run set" in capsys.readouterr().err
