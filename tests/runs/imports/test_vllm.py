"""Results of ``vllm bench serve`` are read by their definitions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_results import VLLM, changed, loaded, only, value

from llmbench.errors import InputError
from llmbench.runs import imports


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
        (
            without("input_lens", "output_lens", "ttfts", "itls", "errors", "start_times"),
            "no input_lens, output_lens, ttfts, itls, errors); run vllm bench serve with --save",
        ),
        (without("start_times"), "no send times (start_times)"),
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


def test_several_results_in_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "appended.json"
    path.write_text(f"{json.dumps(loaded(VLLM))}\n" * 2, "utf-8")
    with pytest.raises(InputError, match="has 2 results"):
        imports.read_results(path)
