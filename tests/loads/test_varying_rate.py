"""Open loops whose rate changes with time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import InputError
from llmbench.loads.stopping import Stop
from llmbench.loads.varying_rate import Burst, Ramp, Steps
from llmbench.scenario.rng import stream

UP: dict[str, Any] = {"start": 0, "end": 2, "over": 10, "spacing": "constant"}
TWO: list[dict[str, Any]] = [{"rate": 2, "lasting": "2 s"}, {"rate": "4/s", "lasting": 1}]


def burst(stop: Stop, **options: Any) -> list[float]:
    load = Burst(Burst.Options.model_validate(options))
    return list(load.arrivals(stop, stream(0, "arrivals")).at_start())


def ramp(stop: Stop, seed: int = 0, **options: Any) -> np.ndarray:
    load = Ramp(Ramp.Options.model_validate(options))
    return load.arrivals(stop, stream(seed, "arrivals")).at_start()


def steps(stop: Stop, spacing: str = "constant") -> np.ndarray:
    load = Steps(Steps.Options.model_validate({"steps": TWO, "spacing": spacing}))
    return load.arrivals(stop, stream(0, "arrivals")).at_start()


# -- bursts ----------------------------------------------------------------------------------------


def test_without_a_size_all_requests_are_due_at_once() -> None:
    assert burst(Stop(warmup=1, requests=3)) == [0.0] * 4


def test_a_single_burst_needs_a_number_of_requests() -> None:
    with pytest.raises(InputError, match="set `requests`"):
        burst(Stop(duration=3))


def test_bursts_come_at_a_fixed_interval() -> None:
    assert burst(Stop(requests=5), size=2, every="10 s") == [0, 0, 10, 10, 20]


def test_a_duration_of_bursts_starts_with_the_first_measured_request() -> None:
    assert burst(Stop(duration=20), size=2, every=10) == [0, 0, 10, 10]
    assert burst(Stop(warmup=2, duration=20), size=2, every=10) == [0, 0, 10, 10, 20, 20]


def test_the_earlier_of_requests_and_duration_stops_bursts() -> None:
    assert burst(Stop(requests=3, duration=20), size=2, every=10) == [0, 0, 10]


@pytest.mark.parametrize("options", [{"size": 2}, {"every": 2}])
def test_a_size_needs_an_interval_and_an_interval_a_size(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="together"):
        Burst.Options.model_validate(options)


# -- ramps -----------------------------------------------------------------------------------------


def test_from_0_arrivals_come_with_the_square_root_of_their_number() -> None:
    # after t seconds t²/10 requests have come
    assert ramp(Stop(requests=4), **UP) == pytest.approx(np.sqrt([0, 10, 20, 30]))


def test_after_the_ramp_the_last_rate_is_held() -> None:
    assert np.diff(ramp(Stop(requests=20), **UP)[11:]) == pytest.approx([0.5] * 8)


def test_a_flat_ramp_is_constant() -> None:
    flat = ramp(Stop(requests=5), start=4, end=4, over=1, spacing="constant")
    assert flat == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])


def test_a_rate_can_fall() -> None:
    falling = ramp(Stop(requests=100), start=20, end=1, over=5, spacing="constant")
    assert np.diff(falling)[0] == pytest.approx(0.05, rel=0.02)
    assert np.diff(falling)[-1] == pytest.approx(1.0)


@given(
    st.floats(0, 50),
    st.floats(0.1, 50),
    st.floats(0.1, 20),
    st.sampled_from(["constant", "poisson"]),
)
def test_arrivals_of_a_ramp_ascend(start: float, end: float, over: float, spacing: str) -> None:
    due = ramp(Stop(requests=200), start=start, end=end, over=over, spacing=spacing)
    assert len(due) == 200
    assert (np.diff(due) >= 0).all()


def test_poisson_arrivals_follow_the_rate_of_a_ramp() -> None:
    due = ramp(Stop(duration=100), start=0, end=100, over=100)
    # 5,000 are expected, a quarter of them in the first half
    assert len(due) == pytest.approx(5000, abs=4 * np.sqrt(5000))
    assert (due < 50).mean() == pytest.approx(0.25, abs=0.03)


def test_a_duration_of_a_ramp_starts_with_the_first_measured_request() -> None:
    due = ramp(Stop(warmup=2, duration=5.0), **UP)
    assert due[-1] < due[2] + 5.0
    assert ramp(Stop(requests=len(due) + 1), **UP)[-1] >= due[2] + 5.0


# -- steps -----------------------------------------------------------------------------------------


def test_each_rate_is_held_for_its_time() -> None:
    due = steps(Stop(requests=8))
    assert due == pytest.approx([0, 0.5, 1, 1.5, 2, 2.25, 2.5, 2.75])


def test_the_load_ends_with_the_last_step_however_many_were_asked_for() -> None:
    assert len(steps(Stop(requests=100))) == 8
    assert len(steps(Stop(duration=100))) == 8


def test_a_duration_can_end_the_steps_earlier() -> None:
    assert steps(Stop(duration=1)) == pytest.approx([0, 0.5])


def test_poisson_arrivals_follow_the_rates_of_the_steps() -> None:
    options = [{"rate": 100, "lasting": 50}, {"rate": 300, "lasting": 50}]
    load = Steps(Steps.Options.model_validate({"steps": options}))
    due = load.arrivals(Stop(duration=1000), stream(0, "arrivals")).at_start()
    assert (due < 50).sum() == pytest.approx(5000, abs=4 * np.sqrt(5000))
    assert (due >= 50).sum() == pytest.approx(15000, abs=4 * np.sqrt(15000))
