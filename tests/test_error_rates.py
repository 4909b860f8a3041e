"""How often the gate errs where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from llmbench.error_rates import Draw, called, wilson

Floats = NDArray[np.float64]


def normal(draws: np.random.Generator, count: int) -> Floats:
    return draws.normal(0, 0.01, count)


def heavy_tailed(draws: np.random.Generator, count: int) -> Floats:
    return np.asarray(draws.standard_t(3, count) * 0.01 / np.sqrt(3))


def outliers(draws: np.random.Generator, count: int) -> Floats:
    """One process in ten is 10 to 30 % slower."""
    slow = (draws.random(count) < 0.1) * draws.uniform(0.1, 0.3, count)
    return np.asarray(draws.normal(0, 0.01, count) + slow)


def bimodal(draws: np.random.Generator, count: int) -> Floats:
    """Every other process is 3 % slower, as memory is laid out."""
    return np.asarray(draws.normal(0, 0.005, count) + (draws.random(count) < 0.5) * 0.03)


NOISES = [(normal, 0.03), (heavy_tailed, 0.03), (outliers, 0.03), (bimodal, 0.05)]


@pytest.mark.parametrize(("draw", "tolerance"), NOISES)
def test_a_night_of_120_metrics_raises_a_false_alarm_in_one_of_a_hundred_at_most(
    draw: Draw, tolerance: float
) -> None:
    # 1 % a night over 120 metrics is 8.4e-5 a metric, one or two in 20,000
    assert called(draw, 0.0, tolerance, nights=20_000) <= 1 / 20_000


@pytest.mark.parametrize(("draw", "tolerance"), NOISES)
def test_a_change_of_10_percent_is_found_19_times_in_20(draw: Draw, tolerance: float) -> None:
    assert called(draw, 0.10, tolerance, nights=1000, seed=1) >= 0.95


def test_a_change_within_the_tolerance_is_called_in_one_night_of_a_hundred_at_most() -> None:
    assert called(normal, 0.03, 0.03, nights=2000, seed=2) <= 0.01


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(0, 60, 0.0, 0.0602), (50, 100, 0.4038, 0.5962)]
)
def test_a_share_has_wilsons_interval(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=1e-4)
