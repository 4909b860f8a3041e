"""What the processes of a short run on an endpoint import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmbench.campaign import execute, plan
from llmbench.campaign.observer import SilentObserver
from llmbench.environment.child_process import guarded
from llmbench.scenario import file as scenario_file

HEAVY = {"torch", "transformers", "pandas", "huggingface_hub", "plotly"}
# written by each process at its exit: its arguments and the heavy modules that it has imported
RECORDER = f"""\
import atexit, json, os, sys
def write():
    found = sorted(set({sorted(HEAVY)}) & set(sys.modules))
    with open(os.path.join({{folder!r}}, str(os.getpid())), "w") as file:
        json.dump([sys.orig_argv[-1], found], file)
atexit.register(write)
"""
SCENARIO = """\
name: short
model: served:truth
workload: {{kind: synthetic, prompt_tokens: 8, output_tokens: 4}}
load: {{kind: constant, rate: 100}}
requests: 5
warmup: 0
backends: [{{kind: endpoint, url: "{url}"}}]
"""


@pytest.fixture
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which each Python process writes its heavy modules, by a sitecustomize."""
    folder = tmp_path / "imports"
    folder.mkdir()
    (tmp_path / "sitecustomize.py").write_text(RECORDER.format(folder=str(folder)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return folder


@pytest.mark.processes
def test_the_worker_of_an_endpoint_imports_neither_torch_nor_transformers(
    tmp_path: Path, imports: Path
) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "truth_server.py"
    with guarded([sys.executable, str(script)], stdout=subprocess.PIPE) as server:
        assert server.process.stdout
        url = f"http://127.0.0.1:{int(server.process.stdout.readline())}"
        scenario = tmp_path / "short.yaml"
        scenario.write_text(SCENARIO.format(url=url))
        begun = plan.begin(scenario_file.load(scenario, []), tmp_path / "out")
        measured = execute.run_all(begun, SilentObserver())
    assert [run.records.num_rows for run in measured.runs] == [5]
    written = [json.loads(path.read_text()) for path in imports.iterdir()]
    of_workers = [found for argument, found in written if argument == "llmbench.worker"]
    assert of_workers == [[]]
