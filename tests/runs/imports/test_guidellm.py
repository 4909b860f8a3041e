"""Reports of guidellm are read by their definitions."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from foreign_results import (
    GUIDELLM,
    GUIDELLM_EARLY,
    GUIDELLM_SUMMARY,
    changed,
    loaded,
    only,
    value,
    values,
)

from llmbench.errors import InputError
from llmbench.runs import imports
from llmbench.runs.imports.measured import Measured


def reported(metric: str, statistic: str) -> float:
    (benchmark,) = loaded(GUIDELLM)["benchmarks"]
    reported: float = benchmark["metrics"][metric]["successful"][statistic]
    return reported


def with_strategy(folder: Path, **strategy: Any) -> Measured:
    def change(document: Any) -> None:
        document["benchmarks"][0]["config"]["strategy"] = strategy

    return only(changed(GUIDELLM, folder, change))


def with_request(folder: Path, change: Callable[[Any], object]) -> Measured:
    """Change the first of the successful requests."""
    return only(
        changed(GUIDELLM, folder, lambda d: change(d["benchmarks"][0]["requests"]["successful"][0]))
    )


def test_it_is_recognized_by_its_content() -> None:
    measured = only(GUIDELLM)
    assert (measured.tool, measured.model) == ("guidellm 0.8.1", "truth")
    assert measured.load == {"kind": "constant", "rate": 10.0}
    assert measured.point == {}


# Its percentiles are nearest-rank, those of llmbench are interpolated; the
# medians are the same where, as here, the number of samples is odd.
@pytest.mark.parametrize("statistic", [("mean", "mean"), ("p50", "median")])
def test_ttft_from_sending_is_what_it_reports(statistic: tuple[str, str]) -> None:
    name, reported_name = statistic
    metric_value = value(only(GUIDELLM), f"service_ttft_{name}")
    assert metric_value is not None
    assert 1000 * metric_value == pytest.approx(
        reported("time_to_first_token_ms", reported_name), abs=1e-3
    )


@pytest.mark.parametrize("statistic", [("mean", "mean"), ("p50", "median")])
def test_its_itl_is_tpot(statistic: tuple[str, str]) -> None:
    name, reported_name = statistic
    metric_value = value(only(GUIDELLM), f"tpot_{name}")
    assert metric_value is not None
    assert 1000 * metric_value == pytest.approx(
        reported("inter_token_latency_ms", reported_name), abs=1e-3
    )


def test_there_are_no_gaps_between_tokens() -> None:
    assert value(only(GUIDELLM), "itl_p50") is None


def test_latencies_count_from_its_targeted_start() -> None:
    measured = only(GUIDELLM)
    assert "scheduled a request" in measured.since
    assert sorted(record.due for record in measured.records) == pytest.approx(
        [index / 10 for index in range(15)], abs=1e-6
    )
    ttft, service = (value(measured, f"{kind}_p50") for kind in ("ttft", "service_ttft"))
    assert ttft is not None
    assert service is not None
    assert ttft > service


def test_due_times_before_the_start_are_not_used() -> None:
    measured = only(GUIDELLM_EARLY)
    assert "missing or before the start" in measured.since
    assert all(record.due == record.sent for record in measured.records)


@pytest.mark.parametrize(
    ("strategy", "load"),
    [
        ({"type_": "synchronous"}, {"kind": "closed", "concurrency": 1}),
        ({"type_": "concurrent", "streams": 3}, {"kind": "closed", "concurrency": 3}),
        ({"type_": "throughput"}, {"kind": "throughput"}),
    ],
)
def test_a_strategy_without_a_schedule_has_no_due_times(
    tmp_path: Path, strategy: dict[str, Any], load: dict[str, Any]
) -> None:
    measured = with_strategy(tmp_path, **strategy)
    assert measured.load == load
    assert "sending and not from the due time" in measured.since
    assert all(record.due == record.sent for record in measured.records)


def test_failed_requests_are_errors_by_kind() -> None:
    failed = [record for record in only(GUIDELLM).records if not record.succeeded]
    assert [record.error_kind for record in failed] == ["http-500"] * 2
    message = failed[0].error_message
    assert message is not None
    assert message.startswith('HTTPStatusError("Server error')
    assert "developer.mozilla" not in message


@pytest.mark.parametrize(
    ("error", "kind"), [("ReadTimeout('')", "ReadTimeout"), ("Request was canceled",) * 2]
)
def test_other_errors_have_the_exception_as_the_kind(tmp_path: Path, error: str, kind: str) -> None:
    def fail(document: Any) -> None:
        document["benchmarks"][0]["requests"]["errored"][0]["info"]["error"] = error

    records = only(changed(GUIDELLM, tmp_path, fail)).records
    assert kind in [record.error_kind for record in records]


def test_abandoned_requests_are_unfinished(tmp_path: Path) -> None:
    def give_up(document: Any) -> None:
        requests = document["benchmarks"][0]["requests"]
        requests["incomplete"] = [requests["successful"].pop()]

    records = only(changed(GUIDELLM, tmp_path, give_up)).records
    assert [record.finish for record in records].count("unfinished") == 1


def test_requests_that_were_never_sent_are_left_out(tmp_path: Path) -> None:
    def never_sent(document: Any) -> None:
        timings = document["benchmarks"][0]["requests"]["errored"][0]["info"]["timings"]
        timings.update(request_start=None, resolve_start=None, targeted_start=None)

    measured = only(changed(GUIDELLM, tmp_path, never_sent))
    assert len(measured.records) == 14
    assert "scheduled a request" in measured.since


def test_an_answer_without_streaming_arrives_at_its_end(tmp_path: Path) -> None:
    def at_once(request: Any) -> None:
        timings = request["info"]["timings"]
        timings.update(
            first_token_iteration=None, first_output_token_iteration=None,
            last_token_iteration=None, token_iterations=0,
        )  # fmt: skip

    record = with_request(tmp_path, at_once).records[0]
    assert record.token_counts == (8,)
    assert record.first_content is None
    end, start = (
        loaded(GUIDELLM)["benchmarks"][0]["requests"]["successful"][0]["info"]["timings"][key]
        for key in ("request_end", "request_start")
    )
    assert record.sent is not None
    assert record.token_times[0] - record.sent == pytest.approx(end - start, abs=1e-6)


def test_an_answer_without_tokens_is_an_error(tmp_path: Path) -> None:
    def empty(request: Any) -> None:
        request["output_tokens"] = 0

    record = with_request(tmp_path, empty).records[0]
    assert (record.finish, record.error_kind) == ("error", "too-few-tokens")


def test_known_lengths_are_kept(tmp_path: Path) -> None:
    record = only(GUIDELLM).records[0]
    assert (record.prompt_tokens, record.max_new_tokens, record.output_tokens) == (11, 8, 8)
    unknown = with_request(
        tmp_path, lambda request: request.update(prompt_tokens=None, request_args=None)
    ).records[0]
    assert (unknown.prompt_tokens, unknown.max_new_tokens) == (None, None)


@pytest.mark.parametrize("arguments", ["no JSON", "[]", '{"body": null}', '{"body": {}}'])
def test_bodies_of_another_shape_have_no_length(tmp_path: Path, arguments: str) -> None:
    change = with_request(tmp_path, lambda request: request.update(request_args=arguments))
    assert change.records[0].max_new_tokens is None


def test_each_benchmark_of_a_sweep_is_a_separate_load(tmp_path: Path) -> None:
    def sweep(document: Any) -> None:
        first = document["benchmarks"][0]
        document["benchmarks"] += [deepcopy(first), deepcopy(first)]
        first["config"]["strategy"] = {"type_": "synchronous"}
        document["benchmarks"][1]["config"]["strategy"]["rate"] = 54.08098853862942
        document["benchmarks"][2]["config"]["strategy"] = {"type_": "throughput"}

    points = [
        measured.point for measured in imports.read_results(changed(GUIDELLM, tmp_path, sweep))
    ]
    assert points == [{"load.concurrency": 1}, {"load.rate": 54.08}, {"load.kind": "throughput"}]


def _timings(document: Any) -> Any:
    return document["benchmarks"][0]["requests"]["successful"][0]["info"]["timings"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document["benchmarks"].clear(), "benchmarks: is empty"),
        (
            lambda document: document["benchmarks"][0].update(
                requests={"successful": [], "errored": [], "incomplete": []}
            ),
            "benchmarks[0]: no request was sent",
        ),
        (
            lambda document: document["benchmarks"][0]["requests"].pop("successful"),
            "benchmarks[0].requests: object missing required field `successful`",
        ),
        (
            lambda document: document["benchmarks"][0]["config"]["strategy"].update(rate="fast"),
            "benchmarks[0].config.strategy.rate: expected `float | null`, got `str`",
        ),
        (
            lambda document: _timings(document).update(resolve_end=1e300),
            "benchmarks[0].requests.successful[0].info.timings.resolve_end: expected `float` <= ",
        ),
    ],
)
def test_invalid_results_are_refused_with_the_reason(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = changed(GUIDELLM, tmp_path, change)
    with pytest.raises(InputError) as refused:
        imports.read_results(path)
    assert str(refused.value).startswith(f"{path}: {message}")


BODIES = ("[]", '{"body": [1]}', "[" * 100_000, '{"body": {"max_tokens": -1}}')


@pytest.mark.parametrize("arguments", BODIES, ids=["list", "body", "nested", "negative"])
def test_an_unknown_request_body_has_no_limit(tmp_path: Path, arguments: str) -> None:
    def change(document: Any) -> None:
        document["benchmarks"][0]["requests"]["successful"][0]["request_args"] = arguments

    first = imports.read_results(changed(GUIDELLM, tmp_path, change))[0].records[0]
    assert first.max_new_tokens is None


def test_without_requests_the_values_are_those_that_it_reports() -> None:
    measured = only(GUIDELLM_SUMMARY)
    metrics = loaded(GUIDELLM_SUMMARY)["benchmarks"][0]["metrics"]
    ttft = metrics["time_to_first_token_ms"]["successful"]
    reported = values(measured)
    assert reported["ttft_p50"] == pytest.approx((ttft["percentiles"]["p50"] / 1000, 13))
    assert reported["e2e_mean"][0] == metrics["request_latency"]["successful"]["mean"]
    assert reported["tpot_mean"][0] == pytest.approx(
        metrics["inter_token_latency_ms"]["successful"]["mean"] / 1000
    )
    assert reported["output_tokens_per_second"] == (71.36, 0)
    assert reported["failed_requests"] == (2.0, 15)
    assert measured.load == only(GUIDELLM).load


def test_benchmarks_with_and_without_requests_are_read_from_one_file(tmp_path: Path) -> None:
    def both(document: Any) -> None:
        document["benchmarks"] += loaded(GUIDELLM)["benchmarks"]
        document["benchmarks"][1]["config"]["strategy"]["rate"] = 20.0

    summarized, detailed = imports.read_results(changed(GUIDELLM_SUMMARY, tmp_path, both))
    assert summarized.summary is not None
    assert detailed.summary is None
    assert [summarized.point, detailed.point] == [{"load.rate": 10.0}, {"load.rate": 20.0}]
