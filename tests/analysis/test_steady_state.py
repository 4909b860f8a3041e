"""Where a load becomes steady."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmbench.analysis.steady_state import find_warmup, mser
from llmbench.runs.record import Record


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.05, count)


def settling(count: int, warm: int) -> list[float]:
    """Return values that are twice as high at first and fall to 1."""
    excess: np.ndarray = np.clip(1.0 - np.arange(count) / warm, 0.0, None)
    return list(1.0 + excess + noise(count))


@pytest.mark.parametrize("warm", [20, 60, 100])
def test_a_different_beginning_is_cut(warm: int) -> None:
    cut = mser(settling(400, warm))
    assert cut is not None
    assert 0.6 * warm <= cut <= warm + 50


def test_little_is_cut_of_a_steady_series() -> None:
    cuts = [mser(1.0 + noise(400, seed)) for seed in range(20)]
    assert sum(cut is not None and cut <= 40 for cut in cuts) >= 15


def test_a_growing_series_is_never_steady() -> None:
    assert mser(np.arange(400.0)) is None


def test_too_few_values_have_no_steady_state() -> None:
    assert mser([1.0] * 49) is None


def record(number: int, ttft: float, tpot: float = 0.01) -> Record:
    first = number + ttft
    return Record(
        number, "measured", float(number), float(number), None, (first, first + tpot),
        (1, 1), 1, 2, "length",
    )  # fmt: skip


def test_the_warm_up_ends_where_both_latencies_have_settled() -> None:
    ttfts, tpots = settling(400, 20), settling(400, 100)
    records = [record(n, a, b) for n, (a, b) in enumerate(zip(ttfts, tpots, strict=True))]
    marked, cut = find_warmup(records)
    assert cut is not None
    assert 60 <= cut <= 150
    assert [r.phase for r in marked] == ["warmup"] * cut + ["measured"] * (400 - cut)


def test_failed_requests_of_the_warm_up_are_part_of_it() -> None:
    records = [record(n, value) for n, value in enumerate(settling(400, 60))]
    records[0] = replace(records[0], finish="error", token_times=(), token_counts=())
    marked, _ = find_warmup(records)
    assert marked[0].phase == "warmup"


def test_no_record_is_marked_without_a_steady_state() -> None:
    marked, cut = find_warmup([record(n, float(n)) for n in range(400)])
    assert cut is None
    assert {r.phase for r in marked} == {"measured"}
