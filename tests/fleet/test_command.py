"""The command line with a fleet: Ctrl-C, a killed process, and a restarted head."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from object_storage import Bucket

from llmbench.runs import store

pytestmark = pytest.mark.slow

SCENARIO = """\
name: fleet
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: constant, rate: 10}
requests: 40
repeats: 2
collect: []
backends: [{kind: fake, clock: real}]
resources: {custom: {bone: 1}}
"""


@contextmanager
def llmbench(
    folder: Path, address: str, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run `llmbench run --ray`; yield the process and its stderr."""
    command = [sys.executable, "-m", "llmbench", "run", "--ray", address, *arguments]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr
        finally:
            process.kill()


def until(text: str, lines: IO[str]) -> Sequence[str]:
    """Read lines to the first one that contains a text."""
    read = []
    for line in lines:
        read.append(line)
        if text in line:
            return read
    raise AssertionError("".join(read))


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    (tmp_path / "fleet.yaml").write_text(SCENARIO, "utf-8")
    return "fleet.yaml"


@pytest.fixture
def dog(ray_cluster: Any) -> Iterator[None]:
    """A node with the resource that the scenario asks for."""
    node = ray_cluster.add_node(node_name="dog", num_cpus=1, resources={"bone": 1})
    yield
    ray_cluster.remove_node(node)


def resumed(folder: Path, address: str) -> list[str | None]:
    """Resume the results; return the failures of all runs."""
    with llmbench(folder, address, "--resume", "out") as (process, lines):
        for _ in lines:
            pass
        assert process.wait() == 0
    runs = store.read(folder / "out").runs
    return [run.failure.message if run.failure else None for run in runs]


@pytest.mark.usefixtures("dog")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_process_keeps_finished_runs_and_frees_its_node(
    number: signal.Signals, cluster_address: str, scenario: str, tmp_path: Path
) -> None:
    with llmbench(tmp_path, cluster_address, scenario, "--out", "out") as (process, lines):
        until("run 2 of 2: dog: ", lines)
        process.send_signal(number)
        rest = "".join(lines)
        code = process.wait()
    if number == signal.SIGINT:
        assert code == 130
        assert "1 of 2 runs are kept; resume with" in rest
        assert f"llmbench run --resume out --ray {cluster_address}" in rest
    (kept,) = store.resume(tmp_path / "out").runs
    assert resumed(tmp_path, cluster_address) == [None, None]
    assert kept.began_at in {run.began_at for run in store.read(tmp_path / "out").runs}


@pytest.mark.usefixtures("dog")
def test_the_runs_of_a_fleet_are_in_the_bucket_that_only_this_process_can_write_to(
    cluster_address: str, scenario: str, bucket: Bucket, tmp_path: Path
) -> None:
    out = f"{bucket.url}/fleet"
    with llmbench(tmp_path, cluster_address, scenario, "--out", out) as (process, lines):
        text = "".join(lines)
        assert process.wait() == 0, text
    runs = {name for name in bucket.names("fleet") if name.endswith("run.json")}
    assert runs == {"runs/fake-r1/run.json", "runs/fake-r2/run.json"}
    assert b'"node"' in bucket.read("fleet/runs/fake-r1/run.json")
    assert {"runset.json", "report.html"} <= {*bucket.names("fleet")}


def test_the_runs_of_a_lost_head_fail_and_resume_measures_them_on_a_restarted_one(
    ray_folder: Path, scenario: str, tmp_path: Path
) -> None:
    from ray.cluster_utils import Cluster  # noqa: PLC0415 (takes seconds to import)

    assert ray_folder.is_dir()
    head = {"num_cpus": 1, "include_dashboard": False, "resources": {"bone": 1}}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    with llmbench(tmp_path, cluster.address, scenario, "--out", "out") as (process, lines):
        until("run 2 of 2", lines)
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        rest = "".join(lines)
        assert process.wait() == 1
    assert "no longer answers; start it again: 1 of 2 runs are kept; resume with" in rest
    assert len(store.read(tmp_path / "out").missing) == 1
    again: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        assert resumed(tmp_path, again.address) == [None, None]
    finally:
        again.shutdown()
