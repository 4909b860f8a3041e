"""``llmbench check --ray``: the cases of nodes are compared with those of a stored fleet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmbench.cli import main
from llmbench.runs import store

SCENARIO = """\
name: fleet
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 4, output_tokens: 4}
load: {kind: constant, rate: 4/s}
requests: 20
repeats: 4
collect: []
backends: [{kind: fake, prefill: 10 ms}]
nodes: each
resources: {gpu: 1}
gate: {metrics: {ttft_p50: 0.03}, screen: 4}
"""


@pytest.mark.slow
def test_a_case_of_a_kind_of_node_is_checked_on_that_kind(
    cluster_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = str(tmp_path / "fleet.yaml")
    Path(scenario).write_text(SCENARIO, "utf-8")
    fleet = ["--ray", cluster_address, "--quiet"]
    baseline, out = str(tmp_path / "baseline"), tmp_path / "out"
    assert main(["run", scenario, "--out", baseline, *fleet]) == 0
    capsys.readouterr()
    given = ["check", scenario, "--baseline", baseline, "--out", str(out), "--json"]
    assert main([*given, *fleet]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["case"] == "fake, node=H100"
    assert case["verdicts"]["ttft_p50"]["outcome"] == "equivalent"
    nodes = [run.facts["node"]["name"] for run in store.read(out / "candidate").runs]
    assert nodes == ["cat"] * 4
