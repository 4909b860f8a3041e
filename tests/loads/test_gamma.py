"""Arrivals in bursts, or steadier than strangers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.loads.gamma import Gamma
from llmbench.loads.stopping import Stop
from llmbench.scenario.rng import stream


def offsets(rate: float, burstiness: float, stop: Stop, seed: int = 0) -> np.ndarray:
    load = Gamma(Gamma.Options(rate=rate, burstiness=burstiness))
    return load.arrivals(stop, stream(seed, "arrivals")).at_start()


def test_the_schedule_of_a_seed_is_the_same_on_every_machine() -> None:
    assert offsets(4, 0.5, Stop(requests=3)).tolist() == [0.1946474, 0.462903194, 1.200397551]


@pytest.mark.parametrize("burstiness", [0.3, 0.5, 1.0, 4.0])
def test_gaps_have_the_mean_and_the_spread_of_the_gamma_distribution(burstiness: float) -> None:
    gaps = np.diff(offsets(4, burstiness, Stop(requests=20_000)), prepend=0.0)
    assert gaps.mean() == pytest.approx(0.25, rel=4 / np.sqrt(20_000 * burstiness))
    assert (gaps.std() / gaps.mean()) ** 2 == pytest.approx(1 / burstiness, rel=0.1)


def test_a_burstiness_of_1_is_poisson() -> None:
    gaps = np.sort(np.diff(offsets(4, 1.0, Stop(requests=20_000)), prepend=0.0))
    share = np.arange(1, len(gaps) + 1) / len(gaps)
    assert np.abs(share - (1 - np.exp(-4 * gaps))).max() < 1.63 / np.sqrt(len(gaps))


def test_counts_in_long_spans_are_dispersed_by_the_inverse_of_the_burstiness() -> None:
    counts = np.bincount((offsets(10, 0.25, Stop(requests=100_000)) / 20).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(4.0, rel=0.2)


def test_gaps_are_not_correlated() -> None:
    gaps = np.diff(offsets(4, 0.5, Stop(requests=20_000)))
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3 / np.sqrt(len(gaps))


@given(st.floats(1, 100), st.floats(0.1, 10), st.floats(0.5, 2.0))
def test_stopping_by_time_keeps_the_beginning_of_the_schedule(
    rate: float, burstiness: float, span: float
) -> None:
    timed = offsets(rate, burstiness, Stop(duration=span))
    assert timed.tolist() == offsets(rate, burstiness, Stop(requests=len(timed))).tolist()
