"""Rates, percentiles and remaining time during a campaign."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.cli.live import LiveMetrics, Pace, Reservoir
from llmbench.loads.progress import NOTHING_YET, Progress


def at(seconds: float, tokens: int) -> Progress:
    return Progress(1, 10, 0, tokens, seconds)


@given(st.lists(st.floats(0, 1), max_size=50), st.integers(1, 10))
def test_a_reservoir_keeps_no_more_than_its_size_and_only_what_it_saw(
    values: list[float], size: int
) -> None:
    reservoir = Reservoir(size)
    reservoir.add(values)
    assert reservoir.seen == len(values)
    assert len(reservoir._kept) == min(size, len(values))
    assert set(reservoir._kept) <= set(values)


def test_a_reservoir_is_a_fair_sample() -> None:
    """Of 20,000 values in order, the kept 1,000 are uniformly distributed (KS at 0.1 %)."""
    reservoir = Reservoir(1000)
    reservoir.add(range(20_000))
    ordered = sorted(reservoir._kept)
    distance = max(abs(rank / 1000 - value / 20_000) for rank, value in enumerate(ordered))
    assert distance < 1.95 / 1000**0.5


def test_percentiles_of_too_small_samples_are_marked() -> None:
    reservoir = Reservoir()
    assert str(reservoir) == "—"
    reservoir.add([0.010] * 661)
    assert str(reservoir) == "p50 10.0 ms, p99 10.0 ms †"
    reservoir.add([0.010])
    assert str(reservoir) == "p50 10.0 ms, p99 10.0 ms"


def test_a_rate_needs_two_reports() -> None:
    metrics = LiveMetrics()
    assert metrics.output_tokens_per_second is None
    metrics.add(at(1.0, 10))
    assert metrics.output_tokens_per_second is None
    metrics.add(at(1.0, 20))
    assert metrics.output_tokens_per_second is None
    metrics.add(at(2.0, 30))
    assert metrics.output_tokens_per_second == 20.0


def test_a_rate_covers_the_last_ten_seconds() -> None:
    metrics = LiveMetrics()
    for second in range(31):
        metrics.add(at(float(second), 10 * second if second < 20 else 200 + 50 * (second - 20)))
    assert metrics.output_tokens_per_second == 50.0


def test_a_worker_that_reports_no_tokens_has_no_rate() -> None:
    metrics = LiveMetrics()
    metrics.add(Progress(1, 10))
    metrics.add(Progress(2, 10))
    assert metrics.output_tokens_per_second is None
    assert metrics.progress.completed == 2


def test_the_remaining_time_comes_from_successful_runs() -> None:
    pace = Pace()
    for began, succeeded in ((0.0, True), (10.0, False), (11.0, True)):
        pace.begin(began, 5)
        pace.end(began + (10.0 if succeeded else 1.0), succeeded=succeeded)
    pace.begin(21.0, 2)
    assert pace.remaining(25.0, NOTHING_YET) == pytest.approx(6.0 + 20.0)


def test_a_run_longer_than_the_others_is_about_to_end() -> None:
    pace = Pace(finished=[10.0])
    pace.begin(0.0, 0)
    assert pace.remaining(60.0, NOTHING_YET) == 0.0


def test_before_a_run_has_ended_the_estimate_comes_from_its_requests() -> None:
    pace = Pace()
    pace.begin(0.0, 1)
    assert pace.remaining(5.0, NOTHING_YET) is None
    pace.measuring = 4.0
    # 2 of 10 requests took 4 s, so the other 8 take 16: this run 24 s in all, and one more
    assert pace.remaining(8.0, Progress(2, 10)) == pytest.approx(16.0 + 24.0)


@pytest.mark.parametrize("progress", [Progress(2, None), Progress(0, 10)])
def test_without_data_there_is_no_estimate(progress: Progress) -> None:
    pace = Pace()
    pace.begin(0.0, 1)
    pace.measuring = 1.0
    assert pace.remaining(8.0, progress) is None


def test_with_an_unknown_number_of_runs_there_is_no_estimate() -> None:
    pace = Pace(finished=[10.0])
    pace.begin(0.0, None)
    assert pace.remaining(1.0, Progress(2, 10)) is None
