"""The third-party backend in examples/, built and used as its users would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import llmbench

EXAMPLE = Path(__file__).parent.parent / "examples" / "llmbench-generate-batch"
SCENARIO = """\
name: example
description: The example beside our own engine.
model: builtin:tiny
workload: {kind: prompts, task: question-answering, output_tokens: {uniform: [4, 12]}}
load: {kind: closed, concurrency: 3}
requests: 8
warmup: 2
engine: {slots: 3}
keep_outputs: true
backends: [eager, generate-batch]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's wheel in it, as an installer lays it out."""
    wheels = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(wheels / "site")
    return wheels / "site"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call llmbench where the example is installed."""
    return subprocess.run(
        [sys.executable, "-m", "llmbench", *arguments],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def records(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What a run of the example beside `eager` leaves."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "example.yaml").write_text(SCENARIO)
    out = str(folder / "out")
    done = run(installed, "run", str(folder / "example.yaml"), "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    found = llmbench.load(out)
    assert not found.stored.failed
    return found.records


def test_the_example_is_listed_once_it_is_installed(installed: Path) -> None:
    listed = json.loads(run(installed, "list", "backends", "--json").stdout)["backends"]
    assert listed["generate-batch"].startswith("PyTorch with the continuous batching")


def test_the_schema_knows_the_options_of_the_example(installed: Path) -> None:
    definitions = json.loads(run(installed, "schema").stdout)["$defs"]
    assert "step_tokens" in definitions["generate-batch-backend"]["properties"]


def test_the_scenario_of_the_example_is_valid(installed: Path) -> None:
    planned = run(installed, "run", str(EXAMPLE / "scenario.yaml"), "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert max(planned.stdout.split()) == "generate-batch-r3"


@pytest.mark.slow
def test_the_example_gives_the_very_answers_of_our_engine(records: pd.DataFrame) -> None:
    answers = {
        case: {row["request_id"]: list(row["output_ids"]) for _, row in rows.iterrows()}
        for case, rows in records.groupby("case")
    }
    assert len(answers["eager"]) == 10
    assert answers["generate-batch"] == answers["eager"]


@pytest.mark.slow
def test_the_example_stamps_every_token_after_its_request_was_sent(records: pd.DataFrame) -> None:
    for _, row in records[records.case == "generate-batch"].iterrows():
        moments = [row["due"], row["sent"], row["started"], *row["token_times"]]
        assert moments == sorted(moments)
        assert len(row["token_times"]) == len(row["output_ids"]) == row["max_new_tokens"]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sampling.temperature=0.7", "generate-batch is greedy here"),
        ("engine.batching=static", "generate-batch only has `continuous`"),
        ("workload={kind: synthetic, prompt_tokens: 4000}", "the model's context holds 2048"),
    ],
)
def test_the_example_refuses_what_it_cannot_do(
    installed: Path, tmp_path: Path, override: str, told: str
) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(SCENARIO.replace("eager, ", ""))
    out = str(tmp_path / "out")
    done = run(installed, "run", str(path), "--set", override, "--out", out, "--quiet")
    assert done.returncode == 2
    assert told in done.stderr
