"""Tests of llama-bench are read by what they measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from foreign_results import LLAMA_BENCH, LLAMA_BENCH_CSV, changed_lines, values

from llmbench.errors import InputError
from llmbench.runs import imports


def test_each_test_is_a_load_named_as_llama_bench_names_it() -> None:
    loads = imports.read_results(LLAMA_BENCH)
    tests = [load.point["workload.test"] for load in loads]
    assert tests == ["pp512", "tg128", "pp512+tg128 @ d4096"]
    assert {load.tool for load in loads} == {"llama-bench b7100 (0104b151c)"}
    assert {load.began_at[:10] for load in loads} == {"2026-03-01"}


def test_a_prompt_gives_total_tokens_and_decoding_gives_output_tokens() -> None:
    prompt, decoding, both = map(values, imports.read_results(LLAMA_BENCH))
    assert prompt["total_tokens_per_second"][1] == 3 * 512
    assert decoding["output_tokens_per_second"][1] == 3 * 128
    assert both["total_tokens_per_second"] == (500.0, 3 * 640)
    assert "output_tokens_per_second" not in prompt.keys() | both.keys()
    assert "total_tokens_per_second" not in decoding


def test_tpot_is_the_time_of_a_decode_step() -> None:
    decoding = values(imports.read_results(LLAMA_BENCH)[1])
    assert decoding["tpot_p50"] == pytest.approx((0.008, 3))
    assert decoding["tpot_mean"] == pytest.approx((0.008, 3))


def test_weights_machine_and_settings_are_kept() -> None:
    load = imports.read_results(LLAMA_BENCH)[0]
    assert values(load)["memory_weights_bytes"] == (3825065984.0, 1)
    assert load.environment == {
        "cpu": {"model": "AMD EPYC 9554"}, "gpus": [{"name": "NVIDIA H100 80GB HBM3"}],
    }  # fmt: skip
    assert load.parts["engine"]["n_threads"] == 8
    assert load.parts["workload"]["prompt_tokens"] == 512


def test_settings_that_vary_distinguish_the_loads(tmp_path: Path) -> None:
    def vary(rows: list[Any]) -> None:
        rows[1] |= {"n_prompt": 512, "n_gen": 0, "n_threads": 16}
        del rows[2]

    points = [
        load.point for load in imports.read_results(changed_lines(LLAMA_BENCH, tmp_path, vary))
    ]
    assert points == [{"engine.n_threads": 8}, {"engine.n_threads": 16}]


def test_csv_has_the_averages_without_the_repetitions() -> None:
    prompt, decoding = imports.read_results(LLAMA_BENCH_CSV)
    assert prompt.summary is not None
    assert prompt.summary.requests is None
    assert values(decoding)["tpot_mean"] == pytest.approx((0.008, 0))
    assert "tpot_p50" not in values(decoding)


def test_a_json_array_is_read_like_lines(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    lines = LLAMA_BENCH.read_text("utf-8").splitlines()
    path.write_text(f"[{','.join(lines)}]", "utf-8")
    assert imports.read_results(path) == imports.read_results(LLAMA_BENCH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(avg_ts=-1), "avg_ts: expected `float` >= 0.0"),
        (lambda row: row.update(test_time="noon"), "test_time: found 'noon'; expected a time"),
        (lambda row: row.pop("n_gen"), "object missing required field `n_gen`"),
    ],
)
def test_an_invalid_row_is_refused_with_its_line(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = changed_lines(LLAMA_BENCH, tmp_path, lambda rows: change(rows[1]))
    with pytest.raises(InputError) as refused:
        imports.read_results(path)
    assert str(refused.value).startswith(f"{path}:2: {message}")
