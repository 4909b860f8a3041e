"""Requests many at a time."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.errors import InputError
from llmbench.loads.burst import Burst
from llmbench.loads.stopping import Stop
from llmbench.scenario.rng import stream


def offsets(stop: Stop, **options: Any) -> list[float]:
    load = Burst(Burst.Options.model_validate(options))
    return list(load.arrivals(stop, stream(0, "arrivals")).at_start())


def test_all_come_at_once() -> None:
    assert offsets(Stop(warmup=1, requests=3)) == [0.0] * 4


def test_all_at_once_needs_to_know_how_many() -> None:
    with pytest.raises(InputError, match="needs `requests`"):
        offsets(Stop(duration=3))


def test_bursts_come_every_so_often() -> None:
    assert offsets(Stop(requests=5), size=2, every="10 s") == [0, 0, 10, 10, 20]


def test_a_duration_holds_from_the_first_measured_request() -> None:
    assert offsets(Stop(duration=20), size=2, every=10) == [0, 0, 10, 10]
    assert offsets(Stop(warmup=2, duration=20), size=2, every=10) == [0, 0, 10, 10, 20, 20]


def test_the_earlier_of_both_stops_it() -> None:
    assert offsets(Stop(requests=3, duration=20), size=2, every=10) == [0, 0, 10]


@pytest.mark.parametrize("options", [{"size": 2}, {"every": 2}])
def test_a_size_needs_an_interval_and_an_interval_a_size(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="together"):
        Burst.Options.model_validate(options)
