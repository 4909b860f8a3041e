"""Rates that follow one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmbench.loads.steps import Steps
from llmbench.loads.stopping import Stop
from llmbench.scenario.rng import stream

TWO: list[dict[str, Any]] = [{"rate": 2, "lasting": "2 s"}, {"rate": "4/s", "lasting": 1}]


def offsets(stop: Stop, spacing: str = "constant") -> np.ndarray:
    load = Steps(Steps.Options.model_validate({"steps": TWO, "spacing": spacing}))
    return load.arrivals(stop, stream(0, "arrivals")).at_start()


def test_each_rate_is_held_for_its_time() -> None:
    due = offsets(Stop(requests=8))
    assert due == pytest.approx([0, 0.5, 1, 1.5, 2, 2.25, 2.5, 2.75])


def test_the_load_ends_with_the_last_step_however_many_were_asked_for() -> None:
    assert len(offsets(Stop(requests=100))) == 8
    assert len(offsets(Stop(duration=100))) == 8


def test_a_duration_can_end_it_earlier() -> None:
    assert offsets(Stop(duration=1)) == pytest.approx([0, 0.5])


def test_poisson_arrivals_follow_the_rates() -> None:
    steps = [{"rate": 100, "lasting": 50}, {"rate": 300, "lasting": 50}]
    load = Steps(Steps.Options.model_validate({"steps": steps}))
    due = load.arrivals(Stop(duration=1000), stream(0, "arrivals")).at_start()
    assert (due < 50).sum() == pytest.approx(5000, abs=4 * np.sqrt(5000))
    assert (due >= 50).sum() == pytest.approx(15000, abs=4 * np.sqrt(15000))
