"""Open loops with a constant mean rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmbench.loads.steady_rate import Constant, Gamma, Poisson
from llmbench.loads.stopping import Stop
from llmbench.scenario.rng import stream


def constant(rate: object, stop: Stop) -> list[float]:
    load = Constant(Constant.Options.model_validate({"rate": rate}))
    due: list[float] = load.arrivals(stop, stream(0, "arrivals")).at_start().tolist()
    return due


def poisson(rate: float, stop: Stop, seed: int = 0) -> np.ndarray:
    load = Poisson(Poisson.Options(rate=rate))
    return load.arrivals(stop, stream(seed, "arrivals")).at_start()


def gamma(rate: float, burstiness: float, stop: Stop, seed: int = 0) -> np.ndarray:
    load = Gamma(Gamma.Options(rate=rate, burstiness=burstiness))
    return load.arrivals(stop, stream(seed, "arrivals")).at_start()


# -- constant --------------------------------------------------------------------------------------


def test_requests_are_due_at_multiples_of_the_period() -> None:
    assert constant("4/s", Stop(warmup=1, requests=3)) == [0.0, 0.25, 0.5, 0.75]


def test_a_duration_has_as_many_periods_as_fit() -> None:
    assert constant(10, Stop(warmup=2, duration=0.3)) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_the_earlier_of_requests_and_duration_ends_it() -> None:
    assert len(constant(10, Stop(requests=5, duration=100.0))) == 5
    assert len(constant(10, Stop(requests=500, duration=1.0))) == 10


@given(st.floats(0.01, 1e4), st.integers(2, 1000))
def test_no_error_accumulates_over_a_long_schedule(rate: float, count: int) -> None:
    assert constant(rate, Stop(requests=count))[-1] == (count - 1) / rate


@pytest.mark.parametrize("rate", [0, -1, "fast", None])
def test_a_rate_that_is_not_positive_is_rejected(rate: object) -> None:
    with pytest.raises(ValidationError):
        constant(rate, Stop(requests=1))


# -- poisson ---------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_poisson_schedules() -> None:
    stop = Stop(requests=50)
    assert poisson(4, stop).tolist() == poisson(4, stop).tolist()


def test_different_seeds_give_different_poisson_schedules() -> None:
    stop = Stop(requests=50)
    assert poisson(4, stop, seed=1).tolist() != poisson(4, stop, seed=2).tolist()


def test_the_poisson_schedule_of_a_seed_is_the_same_on_every_machine() -> None:
    assert poisson(4, Stop(requests=3)).tolist() == [0.143374484, 0.145176142, 0.579490834]


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(poisson(4, Stop(requests=20_000)), prepend=0.0)
    share = np.arange(1, len(gaps) + 1) / len(gaps)
    distance = np.abs(share - (1 - np.exp(-4 * np.sort(gaps)))).max()
    assert distance < 1.63 / np.sqrt(len(gaps))  # Kolmogorov-Smirnov at 1 %


def test_poisson_counts_in_equal_spans_have_the_variance_of_their_mean() -> None:
    counts = np.bincount(poisson(10, Stop(requests=100_000)).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.05)


def test_poisson_gaps_are_not_correlated() -> None:
    gaps = np.diff(poisson(4, Stop(requests=20_000)))
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3 / np.sqrt(len(gaps))


@given(st.floats(0.1, 1000), st.integers(0, 5), st.floats(0.1, 3.0))
def test_a_duration_of_a_poisson_load_starts_with_the_first_measured_request(
    rate: float, warmup: int, duration: float
) -> None:
    due = poisson(rate, Stop(warmup=warmup, duration=duration))
    assert len(due) > warmup
    assert due[-1] < due[warmup] + duration


@given(st.floats(1, 100), st.floats(0.5, 3.0))
def test_stopping_by_time_keeps_the_beginning_of_a_poisson_schedule(
    rate: float, span: float
) -> None:
    timed = poisson(rate, Stop(duration=span))
    counted = poisson(rate, Stop(requests=len(timed)))
    assert timed.tolist() == counted.tolist()


# -- gamma -----------------------------------------------------------------------------------------


def test_the_gamma_schedule_of_a_seed_is_the_same_on_every_machine() -> None:
    assert gamma(4, 0.5, Stop(requests=3)).tolist() == [0.1946474, 0.462903194, 1.200397551]


@pytest.mark.parametrize("burstiness", [0.3, 0.5, 1.0, 4.0])
def test_gaps_have_the_mean_and_the_spread_of_the_gamma_distribution(burstiness: float) -> None:
    gaps = np.diff(gamma(4, burstiness, Stop(requests=20_000)), prepend=0.0)
    assert gaps.mean() == pytest.approx(0.25, rel=4 / np.sqrt(20_000 * burstiness))
    assert (gaps.std() / gaps.mean()) ** 2 == pytest.approx(1 / burstiness, rel=0.1)


def test_a_burstiness_of_1_is_poisson() -> None:
    gaps = np.sort(np.diff(gamma(4, 1.0, Stop(requests=20_000)), prepend=0.0))
    share = np.arange(1, len(gaps) + 1) / len(gaps)
    assert np.abs(share - (1 - np.exp(-4 * gaps))).max() < 1.63 / np.sqrt(len(gaps))


def test_gamma_counts_in_long_spans_are_dispersed_by_the_inverse_of_the_burstiness() -> None:
    counts = np.bincount((gamma(10, 0.25, Stop(requests=100_000)) / 20).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(4.0, rel=0.2)


def test_gamma_gaps_are_not_correlated() -> None:
    gaps = np.diff(gamma(4, 0.5, Stop(requests=20_000)))
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3 / np.sqrt(len(gaps))


@given(st.floats(1, 100), st.floats(0.1, 10), st.floats(0.5, 2.0))
def test_stopping_by_time_keeps_the_beginning_of_a_gamma_schedule(
    rate: float, burstiness: float, span: float
) -> None:
    timed = gamma(rate, burstiness, Stop(duration=span))
    assert timed.tolist() == gamma(rate, burstiness, Stop(requests=len(timed))).tolist()
