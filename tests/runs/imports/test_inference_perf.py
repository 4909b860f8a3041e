"""Reports of inference-perf are read by their definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreign_results import ALL_STAGES, STAGE, changed, loaded, only, values

from llmbench.errors import InputError
from llmbench.runs import imports


def test_a_stage_is_a_load_with_its_rate() -> None:
    stage = only(STAGE)
    assert (stage.tool, stage.load) == ("inference-perf", {"kind": "stage", "rate": 2.0})
    assert only(ALL_STAGES).load == {"kind": "all stages"}


@pytest.mark.parametrize(
    ("metric", "reported", "statistic"),
    [
        ("ttft_p50", "time_to_first_token", "median"),
        ("service_ttft_p99", "time_to_first_token", "p99"),
        ("tpot_mean", "time_per_output_token", "mean"),
        ("itl_p90", "inter_token_latency", "p90"),
        ("e2e_p95", "request_latency", "p95"),
    ],
)
def test_latencies_are_those_that_it_reports(metric: str, reported: str, statistic: str) -> None:
    latency = loaded(STAGE)["successes"]["latency"][reported]
    assert values(only(STAGE))[metric][0] == pytest.approx(latency[statistic])


def test_counts_rates_and_goodput_are_kept() -> None:
    stage = values(only(STAGE))
    assert stage["failed_requests"] == (2.0, 120)
    assert stage["requests_per_second"] == (2.0, 118)
    assert stage["goodput_requests_per_second"] == (1.9, 114)
    assert stage["slo_attainment"] == (0.95, 120)


def test_the_lag_behind_the_schedule_is_the_send_lag() -> None:
    delay = loaded(STAGE)["load_summary"]["schedule_delay"]
    assert values(only(STAGE))["send_lag_p99"] == (delay["p99"], 120)


def test_requests_may_be_sent_before_they_are_due(tmp_path: Path) -> None:
    def early(document: Any) -> None:
        document["load_summary"]["schedule_delay"]["median"] = -0.0004

    assert values(only(changed(STAGE, tmp_path, early)))["send_lag_p50"] == (-0.0004, 120)


def test_a_stage_without_streaming_has_only_end_to_end_latencies(tmp_path: Path) -> None:
    def at_once(document: Any) -> None:
        document["successes"]["latency"].update(
            time_to_first_token=None, time_per_output_token=None, inter_token_latency=None
        )

    stage = values(only(changed(STAGE, tmp_path, at_once)))
    assert {key for key in stage if key.endswith("_p50")} == {"e2e_p50", "send_lag_p50"}


def test_invalid_statistics_are_refused_with_the_key(tmp_path: Path) -> None:
    def negative(document: Any) -> None:
        document["successes"]["latency"]["request_latency"]["p99"] = -1

    with pytest.raises(InputError, match=r"successes\.latency\.request_latency\.p99: expected"):
        imports.read_results(changed(STAGE, tmp_path, negative))
