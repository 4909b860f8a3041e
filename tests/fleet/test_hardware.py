"""A scenario on each kind of node of a real cluster is one run set and one comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmbench.cli import main

SCENARIO = """\
name: hardware
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 4, output_tokens: 4}
load: {kind: closed, concurrency: 2}
requests: 8
backends: [{kind: fake, prefill: 250 ms, per_token: 125 ms}]
collect: []
nodes: each
price_per_hour: {H100: 3.6}
"""


@pytest.mark.slow
def test_each_kind_of_node_has_its_throughput_and_its_cost_or_the_reason(
    cluster_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hardware.yaml").write_text(SCENARIO)
    folder = str(tmp_path / "results")
    arguments = [str(tmp_path / "hardware.yaml"), "--ray", cluster_address, "--out", folder]
    assert main(["run", *arguments, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["report", folder, "--json"]) == 0
    ((hardware),) = (one["hardware"] for one in json.loads(capsys.readouterr().out))
    assert [(k["kind"], k["nodes"], k["processes"]) for k in hardware["kinds"]] == [
        ("H100", 1, 1), ("small", 1, 1),
    ]  # fmt: skip
    rows = {(row["metric"], row["kind"]): row for row in hardware["rows"]}
    throughput = rows["output_tokens_per_second", "H100"]["value"]
    assert rows["output_tokens_per_second", "small"]["value"] == throughput
    cost = rows["cost_per_million_output_tokens", "H100"]["value"]
    assert cost == pytest.approx(3.6 / 3600 / throughput * 1e6)
    unknown = rows["cost_per_million_output_tokens", "small"]
    assert (unknown["value"], unknown["reason"]) == (None, "`price_per_hour` has no price of small")
