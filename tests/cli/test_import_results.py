"""``llmbench import`` stores results of other tools and prints them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from llmbench.cli import main
from llmbench.runs import store

DATA = Path(__file__).parent.parent / "data" / "imports"
VLLM, GUIDELLM = str(DATA / "vllm.json"), str(DATA / "guidellm.json")

Capture = pytest.CaptureFixture[str]


def test_it_writes_a_run_set_with_its_page_and_prints_the_table(
    tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "old"
    assert main(["import", VLLM, GUIDELLM, "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 runs measured" in printed
    assert f"report   {folder / 'report.html'}" in printed
    assert (folder / "report.html").exists()
    assert [run.case.name for run in store.read(folder).runs] == ["vllm vllm", "guidellm guidellm"]


def test_the_report_can_be_written_again(tmp_path: Path, capsys: Capture) -> None:
    folder = str(tmp_path / "old")
    main(["import", GUIDELLM, "--out", folder, "--quiet"])
    assert capsys.readouterr().out == ""
    assert main(["report", folder, "--json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed["harness"]["guidellm guidellm"]["verdict"] == "degraded"


def test_json_is_the_summary(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["import", VLLM, "--name", "before", "--out", str(tmp_path / "old"), "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = {row["metric"]: row for row in printed["summary"]}
    assert {row["case"] for row in printed["summary"]} == {"before"}
    assert rows["failed_requests"]["value"] == 2
    assert rows["service_ttft_p50"]["value"] > 0


def test_without_out_it_creates_a_folder_under_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", VLLM, "--quiet"]) == 0
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.name.startswith("imported-")


def test_unknown_token_times_are_null_in_exports(tmp_path: Path, capsys: Capture) -> None:
    folder = str(tmp_path / "old")
    main(["import", GUIDELLM, "--out", folder, "--quiet"])
    assert main(["export", folder, "--what", "records", "--format", "csv"]) == 0
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    first, middle, last = json.loads(row["token_times"])
    assert middle is None
    assert first < last
    assert main(["export", folder, "--what", "records", "--format", "json"]) == 0
    assert "NaN" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.json"], "none.json: cannot be read"),
        ([VLLM, GUIDELLM, "--name", "before"], "--name is for a single file"),
    ],
)
def test_what_cannot_be_imported_is_bad_input(
    tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    assert main(["import", *arguments, "--out", str(tmp_path / "old")]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_in_use_is_bad_input(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "something").touch()
    assert main(["import", VLLM, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("is not empty; choose a new folder\n")
