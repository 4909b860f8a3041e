"""``llmbench history`` and ``llmbench baseline``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_sets import stored

from llmbench.cli import main

SCENARIO = """\
name: nightly
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: closed
requests: 20
repeats: 3
backends: [fake]
collect: []
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "nightly.yaml").write_text(SCENARIO)
    out = tmp_path / "results"
    assert main(["run", str(tmp_path / "nightly.yaml"), "--out", str(out), "--quiet"]) == 0
    return out


def test_a_night_is_added_shown_and_becomes_the_baseline(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, baseline = tmp_path / "history.jsonl", tmp_path / "baselines" / "cpu.json"
    assert main(["history", str(store), "--add", str(results)]) == 0
    output = capsys.readouterr().out
    assert f"cases added to {store}: 1" in output
    assert "Change points need 20 nights." in output
    assert main(["history", str(store), "--json"]) == 0
    assert {series["case"] for series in json.loads(capsys.readouterr().out)} == {"fake"}

    assert main(["baseline", str(results), str(baseline)]) == 0
    assert main(["baseline", str(results), str(baseline)]) == 0  # prints how it compares
    assert "against cpu.json" in capsys.readouterr().out
    assert main(["compare", str(baseline), str(results)]) == 0
    scenario = str(tmp_path / "nightly.yaml")
    arguments = ["check", scenario, "--baseline", str(baseline), "--out", str(tmp_path / "check")]
    assert main([*arguments, "--quiet"]) == 0


def test_a_baseline_of_an_incomplete_set_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = stored(tmp_path / "results", 0.25, 0.25, 0.25)
    next(results.glob("runs/*-r2/run.json")).unlink()
    assert main(["baseline", str(results), str(tmp_path / "cpu.json")]) == 2
    assert "1 of 3 runs are not measured" in capsys.readouterr().err


def test_a_missing_history_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", str(tmp_path / "history.jsonl")]) == 2
    assert "history.jsonl: cannot be read: No such file" in capsys.readouterr().err
