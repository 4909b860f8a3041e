"""Recorded traces, replayed at full length."""

from __future__ import annotations

from pathlib import Path

import pytest
from known_steps import Known, case

from llmbench.simulation.simulate import simulate
from llmbench.workloads.trace_files import read_trace

TRACES = Path(__file__).parent.parent / "corpus" / "traces"


@pytest.mark.parametrize("name", ["azure.csv", "mooncake.jsonl", "burstgpt.csv"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_every_request_of_a_trace_is_served_at_its_time(name: str, replicas: int) -> None:
    rows = read_trace(TRACES / name).rows
    workload = {"kind": "trace", "path": str(TRACES / name)}
    replay = case(workload=workload, load="trace", requests=len(rows))
    records = simulate(replay, Known(), replicas=replicas).records
    assert records["due"].to_pylist() == [row.time for row in rows]
    assert records["prompt_tokens"].to_pylist() == [row.prompt_tokens for row in rows]
    assert records["output_tokens"].to_pylist() == [row.output_tokens for row in rows]
    assert set(records["finish"].to_pylist()) == {"length"}


def test_a_prefix_cache_has_the_hits_of_the_recorded_blocks() -> None:
    rows = read_trace(TRACES / "mooncake.jsonl").rows
    workload = {"kind": "trace", "path": str(TRACES / "mooncake.jsonl")}
    engine = {"slots": 8, "prefix_cache": True}
    replay = case(workload=workload, load="trace", requests=len(rows), engine=engine)
    cached = simulate(replay, Known(), replicas=1).records["cached_tokens"].to_pylist()
    assert cached[0] == 0
    assert max(cached) > 0
