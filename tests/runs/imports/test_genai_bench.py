"""Results of genai-bench are read by their definitions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from foreign_results import GENAI_BENCH, changed, loaded, only, values

from llmbench.errors import InputError
from llmbench.runs import imports

STATS = loaded(GENAI_BENCH)["aggregated_metrics"]["stats"]


def test_a_file_is_a_closed_loop_of_its_users() -> None:
    measured = only(GENAI_BENCH)
    assert (measured.tool, measured.model) == ("genai-bench 0.0.5", "example/model")
    assert measured.load == {"kind": "closed", "concurrency": 4}
    assert measured.parts["workload"]["scenario"] == "D(100,100)"
    assert measured.environment == {"gpus": [{"name": "H100"}]}


@pytest.mark.parametrize(
    ("metric", "reported", "statistic"),
    [
        ("ttft_p50", "ttft", "p50"),
        ("service_ttft_mean", "ttft", "mean"),
        ("tpot_p95", "tpot", "p95"),
        ("e2e_p99", "e2e_latency", "p99"),
    ],
)
def test_latencies_are_in_the_unit_of_the_file(metric: str, reported: str, statistic: str) -> None:
    value, n = values(only(GENAI_BENCH))[metric]
    assert value == pytest.approx(STATS[reported][statistic] / 1000)
    assert n == 8  # by sum / mean


def test_without_a_unit_latencies_are_in_seconds(tmp_path: Path) -> None:
    path = changed(GENAI_BENCH, tmp_path, lambda document: document.pop("_time_unit"))
    assert values(only(path))["ttft_p50"][0] == STATS["ttft"]["p50"]


def test_rates_and_failures_are_kept() -> None:
    run = values(only(GENAI_BENCH))
    assert run["output_tokens_per_second"] == (320.0, 800)
    assert run["total_tokens_per_second"] == (640.0, 1600)
    assert run["failed_requests"] == (1.0, 9)
    assert run["makespan_seconds"] == (2.5, 1)


def test_tasks_without_output_tokens_have_no_tpot(tmp_path: Path) -> None:
    def embeddings(document: Any) -> None:
        zeros = dict.fromkeys(STATS["tpot"], 0.0)
        document["aggregated_metrics"]["stats"].update(tpot=zeros, num_output_tokens=zeros)
        document["aggregated_metrics"]["mean_output_throughput_tokens_per_s"] = 0.0

    run = values(only(changed(GENAI_BENCH, tmp_path, embeddings)))
    assert not {"tpot_p50", "output_tokens_per_second"} & run.keys()


def test_without_its_metadata_version_and_model_are_not_known(tmp_path: Path) -> None:
    shutil.copy(GENAI_BENCH, tmp_path)
    measured = only(tmp_path / GENAI_BENCH.name)
    assert (measured.tool, measured.model) == ("genai-bench", None)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    path = changed(GENAI_BENCH, tmp_path, lambda document: document.update(_time_unit="h"))
    with pytest.raises(InputError, match="_time_unit: invalid enum value 'h'"):
        imports.read_results(path)
