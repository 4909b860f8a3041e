"""A rate that grows or falls steadily."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.loads.ramp import Ramp
from llmbench.loads.stopping import Stop
from llmbench.scenario.rng import stream


def offsets(stop: Stop, seed: int = 0, **options: Any) -> np.ndarray:
    load = Ramp(Ramp.Options.model_validate(options))
    return load.arrivals(stop, stream(seed, "arrivals")).at_start()


UP: dict[str, Any] = {"start": 0, "end": 2, "over": 10, "spacing": "constant"}


def test_from_0_arrivals_come_with_the_square_root_of_their_number() -> None:
    # after t seconds t²/10 requests have come
    assert offsets(Stop(requests=4), **UP) == pytest.approx(np.sqrt([0, 10, 20, 30]))


def test_after_the_ramp_the_last_rate_stays() -> None:
    assert np.diff(offsets(Stop(requests=20), **UP)[11:]) == pytest.approx([0.5] * 8)


def test_a_flat_ramp_is_constant() -> None:
    flat = offsets(Stop(requests=5), start=4, end=4, over=1, spacing="constant")
    assert flat == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_a_rate_can_fall() -> None:
    falling = offsets(Stop(requests=100), start=20, end=1, over=5, spacing="constant")
    assert np.diff(falling)[0] == pytest.approx(0.05, rel=0.02)
    assert np.diff(falling)[-1] == pytest.approx(1.0)


@given(
    st.floats(0, 50),
    st.floats(0.1, 50),
    st.floats(0.1, 20),
    st.sampled_from(["constant", "poisson"]),
)
def test_arrivals_ascend(start: float, end: float, over: float, spacing: str) -> None:
    due = offsets(Stop(requests=200), start=start, end=end, over=over, spacing=spacing)
    assert len(due) == 200
    assert (np.diff(due) >= 0).all()


def test_poisson_arrivals_follow_the_rate() -> None:
    due = offsets(Stop(duration=100), start=0, end=100, over=100)
    # 5,000 are expected, a quarter of them in the first half
    assert len(due) == pytest.approx(5000, abs=4 * np.sqrt(5000))
    assert (due < 50).mean() == pytest.approx(0.25, abs=0.03)


def test_a_duration_holds_from_the_first_measured_request() -> None:
    due = offsets(Stop(warmup=2, duration=5.0), **UP)
    assert due[-1] < due[2] + 5.0
    assert offsets(Stop(requests=len(due) + 1), **UP)[-1] >= due[2] + 5.0
