"""llm-d's Benchmark Reports are read in the units that they state."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_results import BENCHMARK_REPORT, only, values
from llmd_benchmark_report.core import import_benchmark_report

from llmbench.errors import InputError
from llmbench.runs import imports

TEXT = BENCHMARK_REPORT.read_text("utf-8")


def changed(folder: Path, before: str, after: str) -> Path:
    assert before in TEXT
    path = folder / "report.yaml"
    path.write_text(TEXT.replace(before, after, 1), "utf-8")
    return path


def test_the_sample_is_a_benchmark_report() -> None:
    import_benchmark_report(str(BENCHMARK_REPORT))


def test_load_system_and_time_are_kept() -> None:
    measured = only(BENCHMARK_REPORT)
    assert measured.tool == "inference-perf 0.5.0"
    assert measured.model == "example/model"
    assert measured.load == {"kind": "rate", "rate": 10}
    assert measured.began_at == "2026-03-01T10:15:30+00:00"
    assert measured.parts["workload"]["prompt_tokens"] == 2148
    assert measured.environment == {"gpus": [{"name": "NVIDIA-H100-80GB-HBM3"}] * 2}


def test_values_are_converted_from_their_units() -> None:
    report = values(only(BENCHMARK_REPORT))
    assert report["ttft_p50"] == report["service_ttft_p50"] == pytest.approx((0.0362, 496))
    assert report["tpot_p99"] == (0.0123, 496)
    assert report["e2e_mean"] == (10.2, 496)
    assert report["output_tokens_per_second"] == (9800.5, 0)
    assert report["failed_requests"] == (4.0, 500)
    assert report["server_kv_cache_mean"] == (0.425, 0)
    assert report["server_running_mean"] == (96.5, 0)


def test_latencies_of_our_own_reports_count_from_the_due_time(tmp_path: Path) -> None:
    measured = only(changed(tmp_path, "tool: inference-perf", "tool: llmbench"))
    assert measured.since == "when a request was due"
    assert "service_ttft_p50" not in values(measured)


@pytest.mark.parametrize("version", ["'0.2'", "0.2", "'0.2.1'"])
def test_every_revision_of_the_version_is_read(tmp_path: Path, version: str) -> None:
    assert values(only(changed(tmp_path, "'0.2.1'", version))) == values(only(BENCHMARK_REPORT))


@pytest.mark.parametrize(
    ("before", "after", "load"),
    [
        ("rate_qps: 10", "rate_qps: null", {"kind": "unknown"}),
        (
            "rate_qps: 10\n      concurrency: .inf",
            "concurrency: 8",
            {"kind": "closed", "concurrency": 8},
        ),
    ],
)
def test_the_load_has_the_keys_of_a_scenario(
    tmp_path: Path, before: str, after: str, load: dict[str, object]
) -> None:
    assert only(changed(tmp_path, before, after)).load == load


def test_a_report_without_a_time_has_that_of_its_file(tmp_path: Path) -> None:
    path = changed(tmp_path, "start: 2026-03-01T10:15:30Z", "start: null")
    assert only(path).began_at == "2026-03-01T10:16:20+00:00"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("'0.2.1'", "'0.1'", "version: found '0.1'; expected 0.2"),
        ("units: ms,", "units: hours,", "unknown units 'hours'"),
        ("mean: 36.9", "mean: -1", "time_to_first_token.mean: expected `float` >= 0.0"),
        ("total: 500", "total: many", "requests.total: expected `int`"),
        ("start: 2026-03-01T10:15:30Z", "start: noon", "run.time: found 'noon'"),
        ("results:", "results: [", ":"),
    ],
)
def test_invalid_reports_are_refused_with_the_key(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    path = changed(tmp_path, before, after)
    with pytest.raises(InputError) as refused:
        imports.read_results(path)
    assert message in str(refused.value).removeprefix(str(path))
