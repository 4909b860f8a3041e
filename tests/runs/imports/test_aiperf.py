"""Records of aiperf are read by their definitions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_results import AIPERF, AIPERF_SUMMARY, changed, changed_lines, loaded, only, value

from llmbench.errors import InputError
from llmbench.runs import imports
from llmbench.runs.imports.measured import Measured

FIRST, FAILED = 3, 2  # rows of the sample: one that succeeded, one that did not


def with_row(folder: Path, change: Callable[[Any], object], row: int = FIRST) -> Any:
    """Change a row and give its record."""
    return only(changed_lines(AIPERF, folder, lambda rows: change(rows[row]))).records[row]


def with_summary(folder: Path, change: Callable[[Any], object]) -> Measured:
    """Return what is read of the records with a changed summary."""
    shutil.copy(AIPERF, folder)
    changed(AIPERF_SUMMARY, folder, change)
    return only(folder / AIPERF.name)


def test_it_is_recognized_by_its_content() -> None:
    measured = only(AIPERF)
    assert (measured.tool, measured.model) == ("aiperf 0.13.0", "truth")
    assert measured.load == {"kind": "poisson", "rate": 10.0}


@pytest.mark.parametrize(
    ("metric", "reported"),
    [
        ("service_ttft", "time_to_first_token"),
        ("itl", "inter_chunk_latency"),
        ("tpot", "inter_token_latency"),
    ],
)
@pytest.mark.parametrize(
    ("statistic", "name"), [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("mean", "avg")]
)
def test_metrics_equal_those_that_it_reports(
    metric: str, reported: str, statistic: str, name: str
) -> None:
    metric_value = value(only(AIPERF), f"{metric}_{statistic}")
    assert metric_value is not None
    assert 1000 * metric_value == pytest.approx(loaded(AIPERF_SUMMARY)[reported][name], abs=1e-3)


def test_an_answer_ends_with_its_last_token() -> None:
    rows = [json.loads(line) for line in AIPERF.read_text("utf-8").splitlines()]
    record = only(AIPERF).records[FIRST]
    assert record.sent is not None
    assert 1000 * (record.token_times[-1] - record.sent) == pytest.approx(
        rows[FIRST]["metrics"]["request_latency"]["value"], abs=1e-6
    )


def test_latencies_count_from_when_a_request_was_issued() -> None:
    measured = only(AIPERF)
    assert "issued a request" in measured.since
    assert min(record.due for record in measured.records) == 0.0
    assert all(record.sent > record.due for record in measured.records if record.sent is not None)


def test_without_the_time_of_issue_latencies_count_from_sending(tmp_path: Path) -> None:
    def forget(rows: list[Any]) -> None:
        for row in rows:
            del row["metadata"]["credit_issued_ns"]

    measured = only(changed_lines(AIPERF, tmp_path, forget))
    assert "sending and not from the due time" in measured.since
    assert all(record.due == record.sent for record in measured.records)


def test_its_warm_up_is_a_warm_up() -> None:
    phases = [record.phase for record in only(AIPERF).records]
    assert (phases.count("warmup"), phases.count("measured")) == (2, 15)


def test_failed_requests_are_errors_by_kind() -> None:
    failed = [record for record in only(AIPERF).records if not record.succeeded]
    assert [record.error_kind for record in failed] == ["http-500"] * 3
    assert (failed[0].prompt_tokens, failed[0].token_times) == (15, ())
    assert "out of memory" in (failed[0].error_message or "")


def test_errors_without_a_status_have_their_type_as_the_kind(tmp_path: Path) -> None:
    error = {"type": "TimeoutError", "message": "took too long"}
    record = with_row(tmp_path, lambda row: row.update(error=error), FAILED)
    assert (record.error_kind, record.error_message) == ("TimeoutError", "took too long")


def test_cancelled_requests_are_unfinished(tmp_path: Path) -> None:
    record = with_row(tmp_path, lambda row: row["metadata"].update(was_cancelled=True), FAILED)
    assert record.finish == "unfinished"


def test_an_answer_without_tokens_is_an_error(tmp_path: Path) -> None:
    record = with_row(tmp_path, lambda row: row.update(metrics={}))
    assert (record.finish, record.error_kind) == ("error", "too-few-tokens")


def test_an_answer_without_streaming_arrives_at_its_end(tmp_path: Path) -> None:
    def at_once(row: Any) -> None:
        keys = ("request_latency", "output_sequence_length")
        row["metrics"] = {key: row["metrics"][key] for key in keys}

    record = with_row(tmp_path, at_once)
    assert (len(record.token_times), record.token_counts) == (1, (8,))
    assert record.first_content is None


def test_without_the_times_of_chunks_there_are_no_gaps(tmp_path: Path) -> None:
    record = with_row(tmp_path, lambda row: row["metrics"].pop("inter_chunk_latency"))
    assert record.token_counts == (1, 6, 1)


def test_chunks_of_several_tokens_are_a_caveat(tmp_path: Path) -> None:
    def merged(rows: list[Any]) -> None:
        rows[FIRST]["metrics"]["output_sequence_length"]["value"] = 16

    measured = only(changed_lines(AIPERF, tmp_path, merged))
    assert measured.records[FIRST].token_counts == (2,) * 8
    assert [caveat.kind for caveat in measured.caveats] == ["uneven-chunks"]
    assert only(AIPERF).caveats == ()


def test_the_time_to_connect_is_known_where_a_connection_was_opened(tmp_path: Path) -> None:
    def opened(row: Any) -> None:
        row["metrics"]["http_req_connection_reused"]["value"] = 0
        row["metrics"]["http_req_connecting"] = {"value": 5.0, "unit": "ms"}

    assert with_row(tmp_path, opened).connect_seconds == 0.005
    assert only(AIPERF).records[FIRST].connect_seconds is None


def test_without_its_summary_version_model_and_load_are_not_known(tmp_path: Path) -> None:
    shutil.copy(AIPERF, tmp_path)
    measured = only(tmp_path / AIPERF.name)
    assert (measured.tool, measured.model, measured.load) == ("aiperf", None, {})


@pytest.mark.parametrize(
    ("phase", "load"),
    [
        ({"type": "concurrency", "concurrency": 3}, {"kind": "closed", "concurrency": 3}),
        (
            {"type": "constant", "rate": 5.0, "concurrency": 3},
            {"kind": "constant", "rate": 5.0, "max_in_flight": 3},
        ),
    ],
)
def test_the_load_has_the_keys_of_a_scenario(
    tmp_path: Path, phase: dict[str, Any], load: dict[str, Any]
) -> None:
    measured = with_summary(
        tmp_path, lambda document: document["input_config"].update(phases=[phase])
    )
    assert measured.load == load


def test_a_wrong_summary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"profile_export_aiperf\.json: input_config\.phases"):
        with_summary(tmp_path, lambda document: document["input_config"].update(phases="many"))


def test_its_summary_alone_is_refused_with_the_name_of_the_records() -> None:
    with pytest.raises(InputError, match="import profile_export"):
        imports.read_results(AIPERF_SUMMARY)


def test_several_profiling_phases_are_refused(tmp_path: Path) -> None:
    def twice(rows: list[Any]) -> None:
        rows[-1]["metadata"]["profiling_index"] = 1

    with pytest.raises(InputError, match="has 2 profiling phases"):
        imports.read_results(changed_lines(AIPERF, tmp_path, twice))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda row: row["metadata"].pop("request_start_ns"),
            "metadata: object missing required field `request_start_ns`",
        ),
        (
            lambda row: row["metrics"]["time_to_first_token"].update(unit="h"),
            "metrics.time_to_first_token.unit: invalid enum value 'h'",
        ),
        (
            lambda row: row["metrics"]["time_to_first_token"].update(value=[]),
            "metrics.time_to_first_token.value: expected `array` of length >= 1",
        ),
        (
            lambda row: row["metadata"].update(request_start_ns=10**30),
            "metadata.request_start_ns: ",
        ),
    ],
)
def test_an_invalid_line_is_refused_with_its_number(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = changed_lines(AIPERF, tmp_path, lambda rows: change(rows[FIRST]))
    with pytest.raises(InputError) as refused:
        imports.read_results(path)
    assert str(refused.value).startswith(f"{path}:{FIRST + 1}: {message}")
