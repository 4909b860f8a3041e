"""How often the gate errs where the truth is known: quick tests, and slow ones in full."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmbench.analysis.compare.power import NOISES, Design, normal, outcomes, rates

LARGE = [("normal, 5 %", 0.2), ("normal, 8.5 %", 0.3), ("1 %, and a trend of 1 % per process", 0.3)]


@pytest.mark.parametrize("kind", NOISES)
def test_where_nothing_changes_no_regression_is_called(kind: str) -> None:
    draw, tolerance = NOISES[kind]
    assert rates(draw, 0.0, tolerance, checks=200).regression == 0


@pytest.mark.parametrize(("kind", "effect"), LARGE)
def test_a_large_change_is_called_whatever_the_machine_does(kind: str, effect: float) -> None:
    draw, tolerance = NOISES[kind]
    assert rates(draw, effect, tolerance, checks=60, seed=1).regression >= 0.95


def test_a_change_that_noise_hides_is_undecided_and_rarely_passes() -> None:
    found = rates(normal(0.2), 0.3, 0.05, checks=100, seed=2)
    assert found.undecided > 0.2
    assert found.regression + found.undecided >= 0.9


def test_a_change_within_the_tolerance_is_not_called() -> None:
    assert rates(normal(0.01), 0.03, 0.03, checks=100, seed=2).regression <= 0.02


def test_a_stored_baseline_of_five_processes_suffices_for_a_large_change() -> None:
    assert rates(normal(0.05), 0.2, 0.05, 60, Design(stored=5), seed=1).regression >= 0.9


def test_each_metric_of_a_check_has_its_outcome() -> None:
    rng = np.random.default_rng(0)
    noise, factors = rng.normal(0, 0.01, (3, 2, 28)), (1.0, 1.03, 1.2)
    metrics = [
        (baseline, candidate + math.log(factor))
        for (baseline, candidate), factor in zip(noise, factors, strict=True)
    ]
    assert outcomes(metrics, 0.03) == ["cleared", "open", "confirmed"]


def test_the_sides_of_a_stored_baseline_need_no_equal_numbers() -> None:
    slower = np.full(28, math.log(1.2))
    assert outcomes([(np.zeros(5), slower)], 0.03, Design(stored=5)) == ["confirmed"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOISES)
def test_a_check_of_ten_metrics_raises_no_false_alarm_in_two_thousand(kind: str) -> None:
    draw, tolerance = NOISES[kind]
    assert rates(draw, 0.0, tolerance, checks=2000, metrics=10).regression <= 1 / 2000


@pytest.mark.slow
def test_noise_far_above_the_tolerance_raises_a_false_alarm_in_one_check_of_a_hundred() -> None:
    assert rates(normal(0.2), 0.0, 0.01, checks=2000, metrics=10).regression <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "effect"), LARGE)
def test_a_large_change_is_called_nine_times_in_ten(kind: str, effect: float) -> None:
    draw, tolerance = NOISES[kind]
    assert rates(draw, effect, tolerance, checks=1000, seed=1).regression >= 0.9


@pytest.mark.slow
def test_a_change_within_the_tolerance_is_called_in_one_check_of_a_hundred_at_most() -> None:
    assert rates(normal(0.01), 0.03, 0.03, checks=2000, seed=2).regression <= 0.01
