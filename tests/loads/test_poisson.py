"""Arrivals of many independent strangers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.loads.poisson import Poisson
from llmbench.loads.stopping import Stop
from llmbench.scenario.rng import stream


def offsets(rate: float, stop: Stop, seed: int = 0) -> np.ndarray:
    load = Poisson(Poisson.Options(rate=rate))
    return load.arrivals(stop, stream(seed, "arrivals")).at_start()


def test_equal_seeds_give_equal_schedules() -> None:
    stop = Stop(requests=50)
    assert offsets(4, stop).tolist() == offsets(4, stop).tolist()


def test_different_seeds_give_different_schedules() -> None:
    stop = Stop(requests=50)
    assert offsets(4, stop, seed=1).tolist() != offsets(4, stop, seed=2).tolist()


def test_the_schedule_of_a_seed_is_the_same_on_every_machine() -> None:
    assert offsets(4, Stop(requests=3)).tolist() == [0.143374484, 0.145176142, 0.579490834]


def test_gaps_are_exponential() -> None:
    gaps = np.diff(offsets(4, Stop(requests=20_000)), prepend=0.0)
    share = np.arange(1, len(gaps) + 1) / len(gaps)
    distance = np.abs(share - (1 - np.exp(-4 * np.sort(gaps)))).max()
    assert distance < 1.63 / np.sqrt(len(gaps))  # Kolmogorov-Smirnov at 1 %


def test_counts_in_equal_spans_have_the_variance_of_their_mean() -> None:
    counts = np.bincount(offsets(10, Stop(requests=100_000)).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.05)


def test_gaps_are_not_correlated() -> None:
    gaps = np.diff(offsets(4, Stop(requests=20_000)))
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3 / np.sqrt(len(gaps))


@given(st.floats(0.1, 1000), st.integers(0, 5), st.floats(0.1, 3.0))
def test_a_duration_holds_from_the_first_measured_request(
    rate: float, warmup: int, duration: float
) -> None:
    due = offsets(rate, Stop(warmup=warmup, duration=duration))
    assert len(due) > warmup
    assert due[-1] < due[warmup] + duration


@given(st.floats(1, 100), st.floats(0.5, 3.0))
def test_stopping_by_time_keeps_the_beginning_of_the_schedule(rate: float, span: float) -> None:
    timed = offsets(rate, Stop(duration=span))
    counted = offsets(rate, Stop(requests=len(timed)))
    assert timed.tolist() == counted.tolist()
