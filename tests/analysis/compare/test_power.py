"""How often the gate errs where the truth is known: quick tests, and slow ones in full."""

from __future__ import annotations

import pytest

from llmbench.analysis.compare.power import NOISES, detection_rate


@pytest.mark.parametrize("kind", NOISES)
def test_where_nothing_changes_no_regression_is_called(kind: str) -> None:
    draw, tolerance = NOISES[kind]
    assert detection_rate(draw, 0.0, tolerance, repetitions=500) == 0


@pytest.mark.parametrize("kind", NOISES)
def test_a_change_of_10_percent_is_found_mostly(kind: str) -> None:
    draw, tolerance = NOISES[kind]
    assert detection_rate(draw, 0.10, tolerance, repetitions=60, seed=1) >= 0.9


def test_a_change_within_the_tolerance_is_not_called() -> None:
    draw, tolerance = NOISES["normal"]
    assert detection_rate(draw, tolerance, tolerance, repetitions=100, seed=2) <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOISES)
def test_a_check_of_120_metrics_raises_a_false_alarm_in_one_of_a_hundred_at_most(kind: str) -> None:
    draw, tolerance = NOISES[kind]
    # 1 % per check of 120 metrics is 8.4e-5 per metric, one or two in 20,000
    assert detection_rate(draw, 0.0, tolerance, repetitions=20_000) <= 1 / 20_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOISES)
def test_a_change_of_10_percent_is_found_19_times_in_20(kind: str) -> None:
    draw, tolerance = NOISES[kind]
    assert detection_rate(draw, 0.10, tolerance, repetitions=1000, seed=1) >= 0.95


@pytest.mark.slow
def test_a_change_within_the_tolerance_is_called_in_one_check_of_a_hundred_at_most() -> None:
    draw, tolerance = NOISES["normal"]
    assert detection_rate(draw, tolerance, tolerance, repetitions=2000, seed=2) <= 0.01
