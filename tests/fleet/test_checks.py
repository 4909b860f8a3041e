"""What cases need is checked on the nodes that measure them, not on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from llmbench.campaign import plan
from llmbench.errors import InputError
from llmbench.fleet import checks, placement
from llmbench.fleet.connect import Cluster, connected
from llmbench.fleet.launcher import claimed
from llmbench.fleet.placement import Claim
from llmbench.runs.run_set import RunSet
from llmbench.scenario import file as scenario_file

SCENARIO = """\
name: fleet
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: closed, concurrency: 1}
requests: 4
collect: []
backends: [fake]
resources: {gpu: 1}
"""


@pytest.fixture(scope="module")
def cluster(cluster_address: str) -> Iterator[Cluster]:
    with connected(cluster_address) as cluster:
        yield cluster


def begin(folder: Path, cluster: Cluster, *overrides: str) -> RunSet:
    path = folder / "fleet.yaml"
    path.write_text(SCENARIO, "utf-8")
    source = scenario_file.load(path, overrides)
    cases = placement.expanded(source.cases, cluster.nodes())
    check_cases = partial(checks.check_cases, cluster)
    return plan.begin(replace(source, cases=cases), folder / "out", check_cases=check_cases)


def test_what_this_machine_lacks_does_not_matter(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmbench.plugins.find_spec", lambda _: None)
    case = scenario_file.load("default", ["backends=[onnx]"]).cases[0]
    with pytest.raises(InputError, match="'onnx' needs onnx"):
        plan.check_here([case], {})
    assert len(begin(tmp_path, cluster, "backends=[onnx]", "nodes=each").plan) == 1


def test_what_a_node_lacks_is_an_error_with_the_key_and_the_node(
    cluster: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        begin(tmp_path, cluster, "model=/no/such/folder")
    message = str(error.value)
    assert message.startswith("--set model=/no/such/folder: model")
    assert message.endswith("(on the node cat)")
    assert not (tmp_path / "out").exists()


def test_a_node_in_use_is_not_waited_for(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.1)
    (cat,) = (node for node in cluster.nodes() if node.name == "cat")
    with claimed(cat, Claim(cat.cpus), None, lambda: False) as other:
        assert other.is_granted(lambda: True)
        assert len(begin(tmp_path, cluster, "model=/no/such/folder").plan) == 1
