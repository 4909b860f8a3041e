"""Where a load becomes steady."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.steady_state import FEWEST, find_warmup, mser, steady_from
from llmbench.runs.record import Record
from llmbench.scenario.rng import stream


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.05, count)


def settling(count: int, warm: int) -> list[float]:
    """Return values that are twice as high at first and fall to 1."""
    excess: np.ndarray = np.clip(1.0 - np.arange(count) / warm, 0.0, None)
    return list(1.0 + excess + noise(count))


def sojourns(load: float, count: int, seed: int) -> np.ndarray:
    """Return times in a queue with random arrivals and services (M/M/1) that starts empty."""
    rng = stream(seed, "queue")
    services = rng.exponential(1.0, count)
    steps = np.append(0.0, services[:-1] - rng.exponential(1 / load, count - 1))
    walk = np.cumsum(steps)
    times: np.ndarray = walk - np.minimum.accumulate(walk) + services
    return times


@pytest.mark.parametrize("warm", [20, 60, 100])
def test_a_different_beginning_is_cut(warm: int) -> None:
    cut = steady_from(settling(400, warm))
    assert cut is not None
    assert 0.6 * warm <= cut <= warm + 50


def test_few_very_slow_requests_at_the_beginning_are_cut() -> None:
    values = 1.0 + noise(400)
    values[:5] = 10.0
    assert steady_from(values) == 5


def test_a_beginning_that_only_looks_different_is_kept() -> None:
    proposed = [mser(sojourns(0.8, 400, seed)) for seed in range(40)]
    excluded = [steady_from(sojourns(0.8, 400, seed)) for seed in range(40)]
    assert sum(cut > 0 for cut in proposed) >= 10
    assert sum(cut != 0 for cut in excluded) <= 4


def test_a_steady_queue_is_rarely_called_unsteady() -> None:
    cuts = [steady_from(sojourns(0.8, 200, seed)) for seed in range(100)]
    assert cuts.count(None) <= 5


def test_a_growing_queue_is_never_steady() -> None:
    cuts = [steady_from(sojourns(1.5, 400, seed)) for seed in range(20)]
    assert cuts.count(None) >= 18


def test_a_growing_series_is_never_steady() -> None:
    assert steady_from(np.arange(400.0)) is None


def test_a_drift_of_a_fifth_is_never_steady() -> None:
    assert steady_from(np.linspace(1.0, 1.2, 400) + noise(400)) is None


def test_a_drift_that_is_too_small_to_matter_is_ignored() -> None:
    assert steady_from(np.linspace(1.0, 1.02, 400)) == 0


def test_single_slow_requests_are_no_warm_up() -> None:
    values = 1.0 + noise(400)
    values[[3, 90, 200]] = 50.0
    assert steady_from(values) == 0


@given(st.floats(1e-3, 10.0), st.integers(FEWEST, 500))
def test_equal_values_are_steady(value: float, count: int) -> None:
    assert steady_from(np.full(count, value) + 1e-12 * np.arange(count)) == 0


@given(st.integers(0, 1000))
def test_at_most_half_is_cut(seed: int) -> None:
    assert mser(sojourns(0.9, 205, seed)) <= 103


def record(number: int, ttft: float, tpot: float = 0.01) -> Record:
    first = number + ttft
    return Record(
        number, "measured", float(number), float(number), None, (first, first + tpot),
        (1, 1), 1, 2, "length",
    )  # fmt: skip


def test_the_warm_up_ends_where_both_latencies_have_settled() -> None:
    ttfts, tpots = settling(400, 20), settling(400, 100)
    records = [record(n, a, b) for n, (a, b) in enumerate(zip(ttfts, tpots, strict=True))]
    warmup = find_warmup(records)
    cut = warmup.facts["warmup_requests"]
    assert 60 <= cut <= 150
    assert [r.phase for r in warmup.records] == ["warmup"] * cut + ["measured"] * (400 - cut)
    assert warmup.caveats == ()


def test_failed_requests_of_the_warm_up_are_part_of_it() -> None:
    records = [record(n, value) for n, value in enumerate(settling(400, 60))]
    records[0] = replace(records[0], finish="error", token_times=(), token_counts=())
    assert find_warmup(records).records[0].phase == "warmup"


@pytest.mark.parametrize(
    ("count", "caveat"), [(400, "never-steady"), (FEWEST - 1, "warmup-unknown")]
)
def test_without_a_known_steady_state_nothing_is_excluded_and_a_caveat_says_why(
    count: int, caveat: str
) -> None:
    warmup = find_warmup([record(n, float(n)) for n in range(count)])
    assert warmup.facts["warmup_requests"] is None
    assert [found.kind for found in warmup.caveats] == [caveat]
    assert {r.phase for r in warmup.records} == {"measured"}
