"""``llmbench export`` writes stored results for other programs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llmbench.analysis.metrics import METRICS
from llmbench.cli import main
from llmbench.runs import store
from llmbench.runs.record import Record
from llmbench.runs.run import PlannedRun, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case

BEGAN = "2026-01-01T00:00:00+00:00"
PLAN = PlannedRun(Case("a|b", "a-b", "fake", {}, {"load": {"kind": "closed"}}), 1)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A run set without any run."""
    folder = tmp_path / "results"
    store.create(RunSet(folder, "small", "", BEGAN, "name: small\n", (), {}, (PLAN,)))
    return folder


@pytest.fixture
def folder(empty: Path) -> Path:
    """A run set of one run with three requests and a series."""
    records = [
        Record(i, "measured", i / 3, i / 3, None, (i + 0.25, i + 0.5), (1, 1), 4, 2, "length")
        for i in range(3)
    ]
    series = (Series.measured("cpu", "%", (0.0, 1.0), (10.0, 20.0)),)
    run = Run(PLAN.case, 1, BEGAN, records_table(records), series)
    store.write_run(empty, run)
    return empty


def exported(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["export", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_is_the_summary_by_default(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_metric = {row["metric"]: row for row in rows(exported(capsys, folder, "--format", "csv"))}
    assert float(by_metric["ttft_p50"]["value"]) == 0.25 + 1 - 1 / 3
    assert by_metric["memory_weights_bytes"]["value"] == ""


def test_csv_keeps_every_digit_and_writes_lists_as_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = rows(exported(capsys, folder, "--format", "csv", "--what", "records"))
    assert [float(row["due"]) for row in records] == [0.0, 1 / 3, 2 / 3]
    assert json.loads(records[1]["token_times"]) == [1.25, 1.5]
    assert records[0]["started"] == ""


@pytest.mark.parametrize(
    ("what", "count"), [("runs", len(METRICS)), ("records", 3), ("series", 14)]
)
def test_json_has_a_row_for_each_record_or_reading(
    folder: Path, capsys: pytest.CaptureFixture[str], what: str, count: int
) -> None:
    printed: list[dict[str, Any]] = json.loads(
        exported(capsys, folder, "--format", "json", "--what", what)
    )
    assert len(printed) == count
    assert {row["case"] for row in printed} == {"a|b"}


def test_json_has_null_for_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (first, *_) = json.loads(exported(capsys, folder, "--format", "json", "--what", "records"))
    assert first["started"] is None
    assert first["token_times"] == [0.25, 0.5]


def test_parquet_reads_back_unchanged(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    assert main(["export", str(folder), "--format", "parquet", "--what", "records",
                 "--out", str(path)]) == 0  # fmt: skip
    frame = pd.read_parquet(path)
    assert frame["due"].tolist() == [0.0, 1 / 3, 2 / 3]
    assert frame["token_times"][2].tolist() == [2.25, 2.5]


def test_parquet_needs_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder), "--format", "parquet"]) == 2
    assert "write it to a file with --out" in capsys.readouterr().err


def test_markdown_of_the_summary_is_the_headline(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = exported(capsys, folder, "--format", "markdown").splitlines()
    assert lines[0].startswith("| case | runs | requests | output tokens/s |")
    assert lines[1].startswith("| --- | ---: |")
    assert lines[2].startswith("| a\\|b | 1 | 3 |")


def test_markdown_of_records_is_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = exported(capsys, folder, "--format", "markdown", "--what", "records")
    assert len(text.splitlines()) == 2 + 3


def test_out_writes_a_file_and_prints_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(capsys, folder, "--format", "csv", "--out", tmp_path / "x.csv") == ""
    assert (tmp_path / "x.csv").read_text("utf-8").startswith("case,metric,value")


def test_a_run_set_without_runs_has_no_records(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(empty), "--format", "csv", "--what", "records"]) == 2
    assert "has no records; measure its missing runs" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_bad_input(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "no" / "x.csv"
    assert main(["export", str(folder), "--format", "csv", "--out", str(where)]) == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_benchmark_reports_are_written_to_a_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "reports"
    assert main(["export", str(folder), "--format", "llm-d", "--out", str(out)]) == 0
    (path,) = out.iterdir()
    assert path.name == "a-b-r1.json"
    assert json.loads(path.read_text("utf-8"))["version"] == "0.2"


def test_benchmark_reports_need_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder), "--format", "llm-d"]) == 2
    assert "one file per run; write them to a folder with --out" in capsys.readouterr().err
    file = folder / "runset.json"
    assert main(["export", str(folder), "--format", "llm-d", "--out", str(file)]) == 2
    assert "cannot be written" in capsys.readouterr().err
