"""Where an engine's time goes: totals that add up, and a bounded number of readings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench import testing
from llmbench.analysis.engine_time import ACTIVITIES
from llmbench.engine import step_log
from llmbench.engine.step_log import StepLog
from llmbench.scenario.schema import EngineOptions

NOTED = st.lists(
    st.tuples(st.sampled_from(ACTIVITIES), st.integers(0, 64).map(lambda n: n / 256)), max_size=60
)


def logged(noted: list[tuple[str, float]], began: float = 2.0) -> StepLog:
    log, now = StepLog(began), began
    for activity, seconds in noted:
        now += seconds
        log.note(activity, now)
    return log


@given(NOTED)
def test_the_readings_have_the_same_seconds_as_the_totals(noted: list[tuple[str, float]]) -> None:
    log = logged(noted)
    assert sum(log.seconds.values()) == sum(seconds for _, seconds in noted)
    for activity, series in zip(ACTIVITIES, log.series(), strict=True):
        spans = np.diff(series.times, prepend=2.0)
        assert (spans > 0).all()
        assert (series.values * spans).sum() / 100 == pytest.approx(log.seconds[activity])


@given(NOTED)
def test_readings_are_bounded_and_as_far_apart_everywhere(noted: list[tuple[str, float]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_log, "MAX_READINGS", 8)
        times = logged(noted, began=0.0).series()[0].times
    assert len(times) <= 8
    if len(times) > 2:
        assert np.diff(times)[:-1].min() >= step_log.FIRST_INTERVAL


def test_an_engine_logs_its_steps_and_the_time_without_requests() -> None:
    engine = EngineOptions(slots=2)
    with testing.fake_server(
        testing.open_context(engine=engine), prefill=0.25, per_token=0.125
    ) as server:
        testing.serve(server, testing.dispatch(testing.requests(2, tokens=3), due=[1.0, 1.0]))
        steps = server.report().engine_steps
        prefill, decode, idle = server.series()
    assert steps == {
        "seconds": {"prefill": 0.5, "decode": 0.25, "idle": 1.0},
        "counts": {"prefill": 2, "decode": 2, "idle": 1},
        "decoded_sequences": 4,
    }
    assert prefill.times.tolist() == [1.0, 1.25, 1.5, 1.625, 1.75]
    assert prefill.values.tolist() == [0, 100, 100, 0, 0]
    assert decode.values.tolist() == [0, 0, 0, 100, 100]
    assert idle.values.tolist() == [100, 0, 0, 0, 0]
    assert (idle.name, idle.unit) == ("engine_idle_percent", "% of time")
