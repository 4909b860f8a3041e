"""Exported Benchmark Reports are valid, and say what is measured and from when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_results import VLLM_SUMMARY
from hypothesis import given
from hypothesis import strategies as st
from llmd_benchmark_report.core import load_benchmark_report

from llmbench.analysis.metrics import summarize
from llmbench.report import render
from llmbench.report.benchmark_report import as_benchmark_reports, statistics
from llmbench.runs import imports
from llmbench.runs.imports.run_set import import_results
from llmbench.runs.run_set import RunSet

Report = dict[str, Any]


def reports(run_set: RunSet) -> dict[str, Report]:
    """Return the exported reports, each checked with llm-d's own models."""
    exported = {name: json.loads(text) for name, text in render(run_set, "llm-d").items()}
    for report in exported.values():
        load_benchmark_report(report)
    return exported


def test_every_measured_run_is_a_valid_report(sample: RunSet) -> None:
    measured = [run for run in sample.runs if not run.failure]
    assert reports(sample).keys() == {f"{run.name}.json" for run in measured}


def test_the_reports_of_a_run_set_share_their_experiment(sample: RunSet) -> None:
    runs = [report["run"] for report in reports(sample).values()]
    assert len({run["uid"] for run in runs}) == len(runs)
    assert len({run["eid"] for run in runs}) == 1
    assert as_benchmark_reports(sample) == as_benchmark_reports(sample)


def test_values_are_those_of_the_metrics(sample: RunSet) -> None:
    run = next(run for run in sample.runs if not run.failure)
    report, values = reports(sample)[f"{run.name}.json"], summarize(run)
    aggregate = report["results"]["request_performance"]["aggregate"]
    ttft = aggregate["latency"]["time_to_first_token"]
    assert (ttft["units"], ttft["p50"], ttft["p99"]) == (
        "s", pytest.approx(values["ttft_p50"].value), pytest.approx(values["ttft_p99"].value),
    )  # fmt: skip
    rate = aggregate["throughput"]["output_token_rate"]
    assert rate == {"units": "tokens/s", "mean": values["output_tokens_per_second"].value}
    assert aggregate["requests"]["total"] == values["failed_requests"].n


def test_a_report_says_from_when_latencies_count(sample: RunSet) -> None:
    for report in reports(sample).values():
        described = report["scenario"]["load"]["metadata"]["description"]
        assert described == "Latencies count from when a request was due, not from sending."
        assert report["scenario"]["load"]["standardized"]["tool"] == "llmbench"


def test_an_exported_report_is_imported_with_the_same_values(
    sample: RunSet, tmp_path: Path
) -> None:
    for run in sample.runs:
        if run.failure:
            continue
        path = tmp_path / f"{run.name}.json"
        path.write_text(render(sample, "llm-d")[path.name], "utf-8")
        (load,) = imports.read_results(path)
        assert load.summary is not None
        known = summarize(run)
        for metric, (value, _) in load.summary.values.items():
            assert value == pytest.approx(known[metric].value), metric
        assert {"ttft_p50", "tpot_p99", "e2e_mean"} <= load.summary.values.keys()


def test_a_summary_is_exported_with_what_it_has(tmp_path: Path) -> None:
    (report,) = reports(import_results([VLLM_SUMMARY], tmp_path / "old", "chat")).values()
    aggregate = report["results"]["request_performance"]["aggregate"]
    assert aggregate["requests"] == {"total": 9, "failures": 2}
    assert aggregate["latency"]["time_to_first_token"].keys() == {"units", "mean", "p50", "p99"}
    assert report["scenario"]["load"]["standardized"]["tool"] == "vllm bench serve"


def test_a_sample_without_values_has_no_statistics() -> None:
    assert statistics(np.array([np.nan, np.nan]), "s") is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_statistics_are_ordered(sample: list[float]) -> None:
    known = statistics(np.array([*sample, np.nan]), "s")
    assert known is not None
    ordered = [known[key] for key in ("min", "p1", "p50", "p90", "p99", "max")]
    assert ordered == sorted(ordered)
    assert known["stddev"] >= 0
