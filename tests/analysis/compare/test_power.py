"""How often the gate errs where the truth is known."""

from __future__ import annotations

import pytest

from llmbench.analysis.compare.power import NOISES, called, wilson


@pytest.mark.parametrize("kind", NOISES)
def test_a_night_of_120_metrics_raises_a_false_alarm_in_one_of_a_hundred_at_most(
    kind: str,
) -> None:
    draw, tolerance = NOISES[kind]
    # 1 % a night over 120 metrics is 8.4e-5 a metric, one or two in 20,000
    assert called(draw, 0.0, tolerance, nights=20_000) <= 1 / 20_000


@pytest.mark.parametrize("kind", NOISES)
def test_a_change_of_10_percent_is_found_19_times_in_20(kind: str) -> None:
    draw, tolerance = NOISES[kind]
    assert called(draw, 0.10, tolerance, nights=1000, seed=1) >= 0.95


def test_a_change_within_the_tolerance_is_called_in_one_night_of_a_hundred_at_most() -> None:
    draw, tolerance = NOISES["normal"]
    assert called(draw, tolerance, tolerance, nights=2000, seed=2) <= 0.01


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 60, 0.0, 0.0602), (50, 100, 0.4038, 0.5962)]
)
def test_a_share_has_wilsons_interval(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=1e-4)
