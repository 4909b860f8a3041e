"""Reports of llama-benchy are read by their definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_results import LLAMA_BENCHY, changed, values

from llmbench.errors import InputError
from llmbench.runs import imports


def test_each_benchmark_is_a_load_at_its_concurrency() -> None:
    one, two = imports.read_results(LLAMA_BENCHY)
    assert (one.tool, one.model) == ("llama-benchy 0.4.0", "example/model")
    assert [load.point for load in (one, two)] == [{"load.concurrency": 1}, {"load.concurrency": 2}]
    assert two.load == {"kind": "closed", "concurrency": 2}
    assert one.parts["workload"]["prompt_tokens"] == 2048


def test_ttft_is_that_of_each_request_from_sending() -> None:
    _, two = map(values, imports.read_results(LLAMA_BENCHY))
    assert two["ttft_p50"] == pytest.approx((0.213, 4))
    assert two["service_ttft_mean"] == two["ttft_mean"] == pytest.approx((0.213, 4))


def test_tpot_is_the_inverse_of_each_decode_rate() -> None:
    one, _ = map(values, imports.read_results(LLAMA_BENCHY))
    assert one["tpot_mean"] == pytest.approx(((1 / 50 + 1 / 40) / 2, 2))


def test_the_decode_rate_is_not_taken_for_output_tokens_per_second() -> None:
    one, _ = map(values, imports.read_results(LLAMA_BENCHY))
    assert "output_tokens_per_second" not in one


def test_a_benchmark_without_streaming_has_no_values(tmp_path: Path) -> None:
    def silent(document: Any) -> None:
        document["benchmarks"][0].update(e2e_ttft=None, tg_req_throughput=None)

    one, _ = imports.read_results(changed(LLAMA_BENCHY, tmp_path, silent))
    assert values(one) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document["benchmarks"].clear(), "benchmarks: is empty"),
        (lambda document: document.update(timestamp="today"), "timestamp: found 'today'"),
        (
            lambda document: document["benchmarks"][1].update(concurrency=0),
            "benchmarks[1].concurrency: expected `int` >= 1",
        ),
    ],
)
def test_invalid_reports_are_refused_with_the_key(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = changed(LLAMA_BENCHY, tmp_path, change)
    with pytest.raises(InputError) as refused:
        imports.read_results(path)
    assert str(refused.value).startswith(f"{path}: {message}")
