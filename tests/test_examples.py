"""The third-party backend in examples/: its answers, and its wheel used as its users would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents import blocks
from llmbench_generate_batch import GenerateBatch

import llmbench
from llmbench.backends.torch.eager import Eager
from llmbench.errors import InputError
from llmbench.runs.record import Record
from llmbench.scenario.schema import EngineOptions, SamplingOptions
from llmbench.testing import dispatch, open_context, requests, serve

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "llmbench-generate-batch"
MODULE = "examples/llmbench-generate-batch/llmbench_generate_batch.py"
FACES = {
    "llmbench",
    "llmbench.backends",
    "llmbench.collectors",
    "llmbench.engine",
    "llmbench.errors",
    "llmbench.loads",
    "llmbench.testing",
    "llmbench.units",
    "llmbench.workloads",
}
CONTEXT = open_context(
    "builtin:tiny", slots=3, prompt_lengths=(4, 40), longest_sequence=45, keep_outputs=True
)


def served(backend: Any) -> list[Record]:
    load = [*requests(3, tokens=9), *requests(3, prompt=range(40), tokens=5)]
    numbered = [replace(request, id=index) for index, request in enumerate(load)]
    with backend.open(CONTEXT) as server:
        return serve(server, dispatch(numbered))


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return served(GenerateBatch(GenerateBatch.Options()))


def test_the_example_gives_the_same_answers_as_our_engine(records: list[Record]) -> None:
    eager = served(Eager(Eager.Options()))
    assert [r.output_ids for r in records] == [r.output_ids for r in eager]


def test_the_example_stamps_every_token_after_its_request_was_sent(records: list[Record]) -> None:
    for record in records:
        assert record.sent is not None
        assert record.started is not None
        moments = [record.due, record.sent, record.started, *record.token_times]
        assert moments == sorted(moments)
        assert len(record.token_times) == len(record.output_ids or ()) == record.max_new_tokens


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sampling": SamplingOptions(temperature=0.7)}, "generate-batch is greedy here"),
        ({"engine": EngineOptions(batching="static")}, "generate-batch only has `continuous`"),
        ({"engine": EngineOptions(prefill_tokens=9)}, "generate-batch has `step_tokens` instead"),
        ({"engine": EngineOptions(max_queue=9)}, "the queue of generate-batch is its own"),
        ({"longest_sequence": 4000}, "the model's context holds 2048"),
    ],
)
def test_the_example_refuses_unsupported_options(fields: dict[str, Any], message: str) -> None:
    backend = GenerateBatch(GenerateBatch.Options())
    with (
        pytest.raises(InputError, match=message),
        backend.open(open_context("builtin:tiny", **fields)),
    ):
        pass


@pytest.mark.parametrize("path", ["docs/plugins.md", "docs/backends.md", MODULE], ids=str)
def test_plugin_authors_need_only_the_package_faces(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    imported = re.findall(r"^ *from (llmbench[.\w]*) import", text, flags=re.MULTILINE)
    assert imported
    assert set(imported) <= FACES


def test_the_docs_show_the_whole_pyproject_of_the_example() -> None:
    shown = blocks(ROOT / "docs" / "plugins.md", "toml")
    assert (EXAMPLE / "pyproject.toml").read_text("utf-8") in shown


# -- installed -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example's wheel in it, as an installer lays it out."""
    wheels = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(wheels / "site")
    return wheels / "site"


def run(installed: Path, *arguments: str) -> str:
    """Call llmbench where the example is installed and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "llmbench", *arguments],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_example_is_listed_once_it_is_installed(installed: Path) -> None:
    listed = json.loads(run(installed, "list", "backends", "--json"))["backends"]
    assert listed["generate-batch"].startswith("PyTorch with the continuous batching")


@pytest.mark.slow
def test_the_schema_knows_the_options_of_the_example(installed: Path) -> None:
    definitions = json.loads(run(installed, "schema"))["$defs"]
    assert "step_tokens" in definitions["generate-batch-backend"]["properties"]


@pytest.mark.slow
def test_the_scenario_of_the_example_runs(installed: Path, tmp_path: Path) -> None:
    scenario, out = str(EXAMPLE / "scenario.yaml"), tmp_path / "out"
    planned = run(installed, "run", scenario, "--dry-run")
    assert max(planned.split()) == "generate-batch-r3"
    short = ("--set", "requests=8", "--set", "repeats=1", "--quiet")
    run(installed, "run", scenario, *short, "--out", str(out))
    measured = llmbench.load(out)
    assert not measured.stored.failed
    assert set(measured.records.case) == {"eager", "generate-batch"}
