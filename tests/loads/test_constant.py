"""Arrivals at equal distances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmbench.loads.constant import Constant
from llmbench.loads.stopping import Stop
from llmbench.scenario.rng import stream


def offsets(rate: object, stop: Stop) -> list[float]:
    load = Constant(Constant.Options.model_validate({"rate": rate}))
    due: list[float] = load.arrivals(stop, stream(0, "arrivals")).at_start().tolist()
    return due


def test_requests_are_due_at_multiples_of_the_period() -> None:
    assert offsets("4/s", Stop(warmup=1, requests=3)) == [0.0, 0.25, 0.5, 0.75]


def test_a_duration_holds_as_many_periods_as_fit() -> None:
    assert offsets(10, Stop(warmup=2, duration=0.3)) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_the_earlier_of_requests_and_duration_ends_it() -> None:
    assert len(offsets(10, Stop(requests=5, duration=100.0))) == 5
    assert len(offsets(10, Stop(requests=500, duration=1.0))) == 10


@given(st.floats(0.01, 1e4), st.integers(2, 1000))
def test_no_error_adds_up_over_a_long_schedule(rate: float, count: int) -> None:
    assert offsets(rate, Stop(requests=count))[-1] == (count - 1) / rate


@pytest.mark.parametrize("rate", [0, -1, "fast", None])
def test_a_rate_that_is_none_is_refused(rate: object) -> None:
    with pytest.raises(ValidationError):
        offsets(rate, Stop(requests=1))
