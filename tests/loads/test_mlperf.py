"""Queries that MLCommons' LoadGen issues, the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmbench.campaign.prepare import prepare
from llmbench.errors import InputError
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.mlperf import read_summary
from llmbench.runs.record import Record
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.testing import fake_server, open_context

SPEC: dict[str, Any] = {
    "name": "mlperf",
    "model": "random:tiny",
    "workload": {"kind": "synthetic", "prompt_tokens": 4, "output_tokens": 3},
    "stop": {"min_requests": 70},
    "slo": {"e2e_p99": "10 s"},
    "backends": [{"kind": "fake", "clock": "real"}],
}
LOADS: list[dict[str, Any]] = [
    {"kind": "mlperf", "scenario": "single-stream"},
    {"kind": "mlperf", "scenario": "server", "target_qps": 2000},
    {"kind": "mlperf", "scenario": "offline", "target_qps": 1},
]


def dispatch(load: dict[str, Any], logs: Path, **changes: Any) -> Dispatch:
    scenario = Scenario.model_validate({**SPEC, "load": load, **changes})
    return prepare(Case.of(scenario, {}), logs).dispatch


def serve(sent: Dispatch, clock: str = "real") -> list[Record]:
    with fake_server(open_context(slots=8), clock=clock, prefill=1e-4, per_token=1e-4) as server:
        return server.serve(sent, server.new_clock(), lambda: None)


@pytest.mark.parametrize("load", LOADS, ids=lambda load: str(load["scenario"]))
def test_every_query_of_loadgen_has_a_record_and_its_logs_are_kept(
    load: dict[str, Any], tmp_path: Path
) -> None:
    queries = 500 if load["scenario"] == "server" else 70
    sent = dispatch(load, tmp_path / "logs", stop={"min_requests": queries})
    records = serve(sent)
    assert len(records) >= queries
    assert all(record.succeeded for record in records)
    assert sent.facts["mlperf"]["result"] == "VALID"
    assert "MLPerf Results Summary" in (tmp_path / "logs/mlperf_log_summary.txt").read_text()


def test_loadgen_receives_first_tokens_and_token_counts(tmp_path: Path) -> None:
    slo = {"ttft_p99": "10 s", "tpot_p99": "10 s"}
    serve(dispatch(LOADS[1], tmp_path, slo=slo, stop={"min_requests": 10}))
    summary = (tmp_path / "mlperf_log_summary.txt").read_text()
    assert "Mean First Token latency" in summary
    assert "Completed tokens per second" in summary


def test_a_run_too_short_for_its_percentile_is_invalid(tmp_path: Path) -> None:
    sent = dispatch(LOADS[0], tmp_path, stop={"min_requests": 10})
    serve(sent)
    assert sent.facts["mlperf"] == {"result": "INVALID", "missed": ["Early stopping satisfied"]}


@pytest.mark.parametrize(
    ("load", "changes", "message"),
    [
        (LOADS[0], {"warmup": 3}, "no `warmup`"),
        (LOADS[1], {"slo": {}}, "needs a `slo`"),
        (LOADS[0], {"workload": "sessions"}, "without sessions"),
        (LOADS[0], {"backends": ["fake"]}, "real time"),
    ],
)
def test_options_that_loadgen_does_not_support_are_rejected(
    load: dict[str, Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        dispatch(load, tmp_path, **changes)


def test_the_load_cannot_be_sharded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="remove `clients`"):
        dispatch(LOADS[0], tmp_path).shard(0, 2)


def test_a_summary_lists_missed_conditions(tmp_path: Path) -> None:
    path = tmp_path / "summary.txt"
    path.write_text(
        "Result is : INVALID\n  Min duration satisfied : NO\n  Min queries satisfied : Yes\n"
    )
    assert read_summary(path) == {"result": "INVALID", "missed": ["Min duration satisfied"]}
