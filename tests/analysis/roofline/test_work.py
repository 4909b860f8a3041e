"""Bytes and FLOPs of steps equal a count by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.analysis.roofline.work import LayerCosts, ModelCosts, Work, attended

FULL = LayerCosts(count=2, heads=4, kv_heads=2, head_size=8)
SLIDING = LayerCosts(count=3, heads=4, kv_heads=2, head_size=8, window=4)
COSTS = ModelCosts(
    matmul_bytes=1000,
    other_bytes=24,
    embedding_bytes=500,
    embedding_row_bytes=10,
    matmul_parameters=200,
    head_parameters=50,
    vocabulary=50,
    tied=False,
    state_bytes=2,
    layers=(FULL,),
)
POSITION = 2 * 2 * 2 * 2 * 8  # bytes, keys and values, layers, heads that share, head size
PAIR = 4 * 2 * 4 * 8  # FLOPs a number, layers, heads, head size


def ints(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


@pytest.mark.parametrize(
    ("length", "window", "pairs"),
    [(0, None, 0), (1, None, 1), (5, None, 15), (5, 5, 15), (5, 9, 15), (5, 2, 9), (3, 1, 3)],
)
def test_each_token_attends_to_the_tokens_before_it_and_at_most_the_window(
    length: int, window: int | None, pairs: int
) -> None:
    assert attended(ints(length), window).tolist() == [pairs]


@given(st.integers(0, 300), st.one_of(st.none(), st.integers(1, 200)))
def test_attended_pairs_equal_a_sum_over_tokens(length: int, window: int | None) -> None:
    expected = sum(i if window is None else min(i, window) for i in range(1, length + 1))
    assert attended(ints(length), window).tolist() == [expected]


def test_a_decode_step_reads_all_weights_once_and_the_cache_of_each_row() -> None:
    work = COSTS.decode(1, 0.5, ints(5, 9), ints(5, 9))
    assert work.moved_bytes == 1024 + 2 * (10 + POSITION) + (5 + 9) * POSITION
    assert work.flops == 2 * 2 * 250 + (5 + 9) * PAIR
    assert (work.steps, work.seconds) == (1, 0.5)


def test_a_row_that_takes_part_in_several_steps_reads_one_position_more_each_time() -> None:
    work = COSTS.decode(3, 1.0, ints(5), ints(7))
    assert work.moved_bytes == 3 * 1024 + 3 * (10 + POSITION) + (5 + 6 + 7) * POSITION


def test_a_row_that_takes_part_in_no_step_moves_nothing() -> None:
    work = COSTS.decode(1, 1.0, ints(5, 4), ints(5, 3))
    assert work == COSTS.decode(1, 1.0, ints(5), ints(5))


def test_layers_with_a_sliding_window_read_at_most_the_window() -> None:
    sliding = replace(COSTS, layers=(FULL, SLIDING))
    work = sliding.decode(1, 1.0, ints(10), ints(10))
    by_layer = POSITION // 2
    read = (2 * 10 + 3 * 4) * by_layer
    assert work.moved_bytes == 1024 + 10 + 5 * by_layer + read


def test_a_prefill_computes_the_head_for_its_last_token_only() -> None:
    work = COSTS.prefill(1, 1.0, ints(6))
    assert work.flops == 2 * (200 * 6 + 50) + (6 * 7 / 2) * PAIR
    assert work.moved_bytes == 1024 + 6 * (10 + POSITION)


def test_prefills_are_counted_one_by_one() -> None:
    both, first, second = (COSTS.prefill(len(p), 1.0, ints(*p)) for p in ((6, 3), (6,), (3,)))
    assert both.flops == first.flops + second.flops
    assert both.moved_bytes == first.moved_bytes + second.moved_bytes
    assert both.steps == 2


def test_a_prefill_of_several_prompts_reads_the_weights_once() -> None:
    apart, together = (COSTS.prefill(steps, 1.0, ints(6, 3)) for steps in (2, 1))
    assert together.flops == apart.flops
    assert together.moved_bytes == apart.moved_bytes - COSTS.step_bytes


@given(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 40)))
def test_a_prefill_attends_to_as_much_as_decoding_its_tokens_would(
    prompt: int, window: int | None
) -> None:
    costs = replace(COSTS, layers=(replace(FULL, window=window),))
    whole = costs.attention_flops(ints(1), ints(prompt))
    single = [costs.attention_flops(ints(n), ints(n)) for n in range(1, prompt + 1)]
    assert whole.tolist() == sum(single).tolist()  # type: ignore[union-attr] # of arrays


def test_other_programs_make_the_peaks_of_a_processor_doubtful_but_not_those_of_a_gpu() -> None:
    peaks = DevicePeaks(
        "x", "cpu", "float32", 1, "2.13.0", 1.0, 1.0, 50.0, "2026-01-01T00:00:00+00:00"
    )
    assert peaks.is_doubtful
    assert not replace(peaks, device="cuda").is_doubtful
    assert not replace(peaks, other_load_percent=5.0).is_doubtful


def test_costs_survive_being_stored() -> None:
    assert ModelCosts.of(asdict(COSTS)) == COSTS


def test_a_share_is_the_rate_divided_by_the_peak() -> None:
    work = Work(steps=4, seconds=2.0, moved_bytes=30.0, flops=8.0)
    assert (work.bandwidth_share(60.0), work.compute_share(8.0)) == (0.25, 0.5)


def test_cached_tokens_of_a_prompt_are_read_and_not_computed() -> None:
    whole, cached, rest = (
        COSTS.prefill(1, 1.0, ints(6)), COSTS.prefill(1, 1.0, ints(4)),
        COSTS.prefill(1, 1.0, ints(6), ints(4)),
    )  # fmt: skip
    assert rest.flops == whole.flops - cached.flops + 2.0 * COSTS.head_parameters
    tokens = 2 * (COSTS.embedding_row_bytes + COSTS.kv_token_bytes)
    assert rest.moved_bytes == COSTS.step_bytes + tokens + 4 * COSTS.kv_token_bytes
