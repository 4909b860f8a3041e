"""Results of ``vllm bench serve`` are read by their definitions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_results import VLLM, VLLM_SUMMARY, changed, loaded, only, value

from llmbench.errors import InputError
from llmbench.runs import imports
from llmbench.runs.imports.measured import Summary


def test_it_is_recognized_by_its_content() -> None:
    measured = only(VLLM)
    assert (measured.tool, measured.model) == ("vllm bench serve", "example/model")
    assert measured.began_at == "2026-03-01T10:15:30"
    assert measured.load == {"kind": "poisson", "rate": 8.0, "max_in_flight": 3}


@pytest.mark.parametrize(
    ("metric", "reported"),
    [
        ("service_ttft_p50", "median_ttft_ms"),
        ("service_ttft_p99", "p99_ttft_ms"),
        ("service_ttft_mean", "mean_ttft_ms"),
        ("tpot_p50", "median_tpot_ms"),
        ("itl_p50", "median_itl_ms"),
        ("itl_p99", "p99_itl_ms"),
        ("itl_mean", "mean_itl_ms"),
    ],
)
def test_metrics_equal_those_that_it_reports(metric: str, reported: str) -> None:
    metric_value = value(only(VLLM), metric)
    assert metric_value is not None
    assert 1000 * metric_value == pytest.approx(loaded(VLLM)[reported], abs=1e-3)


def test_latencies_count_from_the_release_of_a_request_where_it_is_known() -> None:
    measured, document = only(VLLM), loaded(VLLM)
    assert "released a request" in measured.since
    lags = [record.sent - record.due for record in measured.records if record.sent is not None]
    assert lags == pytest.approx(document["queue_times"], abs=1e-9)
    assert measured.records[0].due == 0.0


def test_without_the_release_latencies_count_from_sending(tmp_path: Path) -> None:
    measured = only(changed(VLLM, tmp_path, lambda document: document.pop("queue_times")))
    assert "sending and not from the due time" in measured.since
    assert all(record.due == record.sent for record in measured.records)


def test_without_a_rate_requests_are_due_when_they_are_sent(tmp_path: Path) -> None:
    measured = only(changed(VLLM, tmp_path, lambda document: document.update(request_rate="inf")))
    assert measured.load == {"kind": "closed", "concurrency": 3}
    assert all(record.due == record.sent for record in measured.records)


@pytest.mark.parametrize(
    ("change", "load"),
    [
        ({"burstiness": 0.5}, {"kind": "gamma", "rate": 8.0, "burstiness": 0.5}),
        ({"request_rate": "inf"}, {"kind": "request_rate inf"}),
        ({"request_rate": "inf", "ramp_up_strategy": "linear"}, {"kind": "linear ramp"}),
    ],
)
def test_the_load_has_the_keys_of_a_scenario(
    tmp_path: Path, change: dict[str, Any], load: dict[str, Any]
) -> None:
    path = changed(VLLM, tmp_path, lambda document: document.update(max_concurrency=None, **change))
    assert only(path).load == load


def test_failed_requests_are_errors_by_kind() -> None:
    failed = {r.request_id: r for r in only(VLLM).records if not r.succeeded}
    assert {n: r.error_kind for n, r in failed.items()} == {
        4: "Internal Server Error", 7: "ServerDisconnectedError",
    }  # fmt: skip
    assert failed[7].error_message is not None
    assert failed[7].error_message.endswith("ServerDisconnectedError: Server disconnected")
    assert failed[4].token_times == ()


@pytest.mark.parametrize("error", ["", "Never received a valid chunk to calculate TTFT."])
def test_an_answer_without_tokens_is_an_error(tmp_path: Path, error: str) -> None:
    def empty(document: dict[str, Any]) -> None:
        document["output_lens"][0], document["errors"][0] = 0, error

    record = only(changed(VLLM, tmp_path, empty)).records[0]
    assert (record.finish, record.error_kind) == ("error", "too-few-tokens")


def test_missing_data_is_unknown() -> None:
    record = only(VLLM).records[0]
    assert (record.max_new_tokens, record.started, record.first_content) == (None, None, None)
    assert record.finish == "ended"


def test_tokens_are_divided_evenly_among_chunks() -> None:
    measured = only(VLLM)
    assert measured.records[0].token_counts == (1,) * 8
    assert measured.records[2].output_tokens == 9
    (caveat,) = measured.caveats
    assert caveat.kind == "uneven-chunks"
    assert caveat.parameters == {"answers": 1, "total": 7}


def test_texts_are_not_kept() -> None:
    assert "word" not in repr(only(VLLM))


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def remove(document: dict[str, Any]) -> None:
        for key in keys:
            del document[key]

    return remove


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document["ttfts"].pop(), "expected non-empty, equally long lists"),
        (
            lambda document: document["ttfts"].__setitem__(0, "soon"),
            "ttfts[0]: expected `float`, got `str`",
        ),
        (lambda document: document["ttfts"].__setitem__(0, 0.0), "the backend did not stream"),
        (
            lambda document: document["start_times"].__setitem__(0, 0.0),
            "start_times[0]: expected `float` > 0.0",
        ),
        (
            lambda document: document["start_times"].__setitem__(0, float("inf")),
            "start_times[0]: expected `float` <= 100000000000.0",
        ),
        (
            lambda document: document["output_lens"].__setitem__(0, 10**12),
            "output_lens[0]: expected `int` <= 1000000000",
        ),
        (lambda document: document.update(date="yesterday"), "date: time data"),
    ],
)
def test_invalid_results_are_refused_with_the_reason(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = changed(VLLM, tmp_path, change)
    with pytest.raises(InputError) as refused:
        imports.read_results(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)


def test_several_results_with_requests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "appended.json"
    path.write_text(f"{json.dumps(loaded(VLLM))}\n" * 2, "utf-8")
    with pytest.raises(InputError, match="has 2 results"):
        imports.read_results(path)


# -- without requests ------------------------------------------------------------------------------


def summary(path: Path) -> Summary:
    found = only(path).summary
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("metric", "reported"),
    [
        ("ttft_p50", "median_ttft_ms"),
        ("service_ttft_p99", "p99_ttft_ms"),
        ("tpot_mean", "mean_tpot_ms"),
        ("itl_p99", "p99_itl_ms"),
    ],
)
def test_without_details_the_values_are_those_that_it_reports(metric: str, reported: str) -> None:
    value, _ = summary(VLLM_SUMMARY).values[metric]
    assert value == pytest.approx(loaded(VLLM_SUMMARY)[reported] / 1000)


def test_without_details_the_run_is_described_as_with_them() -> None:
    measured, detailed = only(VLLM_SUMMARY), only(VLLM)
    assert measured.records == ()
    assert (measured.tool, measured.model, measured.load) == (
        detailed.tool, detailed.model, detailed.load,
    )  # fmt: skip
    assert "sending and not from the due time" in measured.since


def test_samples_of_a_summary_are_counted_where_they_are_known() -> None:
    values = summary(VLLM_SUMMARY).values
    assert values["ttft_p50"][1] == 7
    assert values["itl_p50"][1] == 0
    assert values["failed_requests"] == (2.0, 9)
    assert values["output_tokens_per_second"] == (62.71387328710753, 57)


def test_statistics_that_are_not_in_the_file_are_unknown() -> None:
    values = summary(VLLM_SUMMARY).values
    assert not values.keys() & {"ttft_p90", "tpot_p95", "e2e_p50", "goodput_requests_per_second"}


def test_a_latency_of_zero_was_not_measured(tmp_path: Path) -> None:
    def at_once(document: Any) -> None:
        document.update(mean_ttft_ms=0.0, median_ttft_ms=0.0, p99_ttft_ms=0.0)

    values = summary(changed(VLLM_SUMMARY, tmp_path, at_once)).values
    assert not any(key.startswith(("ttft", "service_ttft")) for key in values)


def test_acceptance_is_that_of_the_counted_draft_tokens(tmp_path: Path) -> None:
    def speculative(document: Any) -> None:
        document.update(spec_decode_draft_tokens=40, spec_decode_accepted_tokens=30)

    values = summary(changed(VLLM_SUMMARY, tmp_path, speculative)).values
    assert values["draft_acceptance"] == (0.75, 40)


def test_older_results_do_not_count_failed_requests(tmp_path: Path) -> None:
    values = summary(changed(VLLM_SUMMARY, tmp_path, without("failed"))).values
    assert values["failed_requests"] == (2.0, 9)
    old = changed(VLLM_SUMMARY, tmp_path, without("failed", "num_prompts"))
    assert "failed_requests" not in summary(old).values


@pytest.mark.parametrize(
    ("removed", "remedy"),
    [
        (("start_times",), "Measure with a newer vllm"),
        (("ttfts", "itls"), "Run `vllm bench serve` with `--save-result --save-detailed`."),
    ],
)
def test_a_summary_says_how_to_store_requests(
    tmp_path: Path, removed: tuple[str, ...], remedy: str
) -> None:
    assert summary(changed(VLLM, tmp_path, without(*removed))).remedy.startswith(remedy)


def test_appended_summaries_are_a_sweep(tmp_path: Path) -> None:
    path = tmp_path / "appended.json"
    documents = [loaded(VLLM_SUMMARY) | {"request_rate": rate} for rate in (4.0, "inf")]
    path.write_text("\n".join(map(json.dumps, documents)), "utf-8")
    points = [measured.point for measured in imports.read_results(path)]
    assert points == [{"load.rate": 4.0}, {"load.concurrency": 3}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(p99_ttft_ms=-1), "ttft: p99: expected `float` >= 0.0"),
        (lambda document: document.update(p99_itl_ms=float("nan")), "itl: p99: expected `float`"),
        (lambda document: document.update(mean_tpot_ms=[1]), "tpot: mean: expected `float"),
        (lambda document: document.update(duration=0), "duration: expected `float` > 0.0"),
        (without("completed"), "object missing required field `completed`"),
    ],
)
def test_invalid_summaries_are_refused_with_the_key(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        imports.read_results(changed(VLLM_SUMMARY, tmp_path, change))
    assert message in str(refused.value)
