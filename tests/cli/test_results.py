"""`llmbench results` lists and shows run sets, and deletes only what it is told to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llmbench.cli import main
from llmbench.runs.lock import locked

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "out"
    flags = ["run", "--model", "random:tiny", "--backends", "fake", "--requests", "5", "--quiet"]
    small = ["--set", "repeats=1", "--set", "collect=[]"]
    assert main([*flags, *small, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folders(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three run sets of one scenario, from old to new, and one of another."""
    monkeypatch.chdir(tmp_path)
    folders = [Path("results", name) for name in ("a", "b", "c", "other")]
    for number, folder in enumerate(folders, start=1):
        shutil.copytree(measured, folder)
        manifest = folder / "runset.json"
        stored = json.loads(manifest.read_text("utf-8"))
        stored["began_at"] = f"2026-01-0{number}T00:00:00+00:00"
        stored["name"] = "other" if folder.name == "other" else "tiny"
        manifest.write_text(json.dumps(stored), "utf-8")
    return folders


def test_run_sets_are_listed_from_the_newest(folders: list[Path], capsys: Capture) -> None:
    assert main(["results", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [str(folder) for folder in reversed(folders)]
    assert lines[1].startswith("results/c      tiny, 2026-01-03T00:00, 1 of 1 run, ")


@pytest.mark.usefixtures("folders")
def test_a_narrow_terminal_breaks_the_list_between_words(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["results", "list"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "results/other  other, 2026-01-04T00:00,"
    assert lines[1].startswith(f"{'':15}1 of 1 run, ")


def test_the_list_is_available_as_json(folders: list[Path], capsys: Capture) -> None:
    assert main(["results", "list", "--json"]) == 0
    newest, *_ = json.loads(capsys.readouterr().out)
    assert (newest["folder"], newest["name"]) == (str(folders[-1]), "other")
    assert newest["bytes"] > 0


def test_showing_results_writes_nothing(folders: list[Path], capsys: Capture) -> None:
    page = folders[0] / "report.html"
    page.unlink()
    assert main(["results", "show", str(folders[0])]) == 0
    assert "1 of 1 run measured" in capsys.readouterr().out
    assert not page.exists()


def test_pruning_deletes_nothing_until_told(folders: list[Path], capsys: Capture) -> None:
    assert main(["results", "prune", "--keep", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:-1]] == [
        ["would delete", "results/b"],
        ["would delete", "results/a"],
    ]
    assert lines[-1] == "nothing was deleted; to delete them, add --yes"
    assert all(folder.exists() for folder in folders)


def test_pruning_keeps_the_newest_of_each_scenario(folders: list[Path], capsys: Capture) -> None:
    assert main(["results", "prune", "--keep", "1", "--yes"]) == 0
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert capsys.readouterr().out.splitlines()[0].startswith("deleted  results/b  tiny, ")


def test_pruning_keeps_what_is_measured_and_what_cannot_be_read(
    folders: list[Path], capsys: Capture
) -> None:
    (folders[1] / "runset.json").write_text("{")
    with locked(folders[0]):
        assert main(["results", "prune", "--keep", "0", "--yes"]) == 0
    assert [folder.exists() for folder in folders] == [True, True, False, False]
    assert "kept (results/a: process" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune", "--keep", "-1"], "--keep -1: must be at least 0"),
        (["list", "nowhere"], "nowhere: no such folder"),
        (["show", "nowhere"], "nowhere: "),
    ],
)
def test_bad_input_has_a_message(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(["results", *arguments]) == 2
    assert f"llmbench: {message}" in capsys.readouterr().err
