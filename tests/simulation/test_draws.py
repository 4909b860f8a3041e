"""Streams of values."""

from __future__ import annotations

import numpy as np
import pytest

from llmbench.simulation.draws import Draws, Variation, repeated


def test_values_are_taken_in_order() -> None:
    numbers = iter(range(10_000))
    draws = Draws(lambda count: np.array([float(next(numbers)) for _ in range(count)]), 0.0)
    assert draws.next() == 0.0
    assert draws.ahead(700) == list(map(float, range(1, 701)))
    draws.skip(600)
    assert draws.next() == 601.0
    assert draws.take(3).tolist() == [602.0, 603.0, 604.0]


def test_without_a_stream_all_values_are_alike() -> None:
    assert Draws(None, 2.5).take(3).tolist() == [2.5, 2.5, 2.5]


def test_all_engines_come_once_before_any_comes_again() -> None:
    (noise,) = repeated([engine(0, 1000), engine(1000, 1500), engine(1500, 1800)], rng(), 1)
    assert noise.decode
    for _ in range(3):
        values = np.concatenate([noise.decode(300), noise.decode(1500)])
        assert sorted(values) == list(range(1800))


def test_the_values_of_an_engine_stay_together() -> None:
    (noise,) = repeated([engine(0, 1000), engine(1000, 1500), engine(1500, 1800)], rng(), 1)
    assert noise.decode
    values = noise.decode(1800)
    assert (np.diff(values) != 1).sum() <= 3


def test_all_streams_begin_at_the_same_part_of_the_same_engine() -> None:
    (noise,) = repeated([engine(0, 1000), engine(1000, 2000)], rng(), 1)
    assert noise.prefill
    assert noise.decode
    assert noise.decode(1)[0] == pytest.approx(noise.prefill(1)[0], abs=10)


def test_engines_come_in_another_order_each_time() -> None:
    (noise,) = repeated(
        [engine(100 * number, 100 * (number + 1)) for number in range(10)], rng(), 1
    )
    assert noise.decode
    assert noise.decode(1000).tolist() != noise.decode(1000).tolist()


def test_each_engine_comes_first_for_equally_many_servers() -> None:
    noises = repeated([engine(0, 100), engine(100, 200), engine(200, 300)], rng(), 6)
    firsts = sorted(noise.decode(1)[0] // 100 for noise in noises if noise.decode)
    assert firsts == [0, 0, 1, 1, 2, 2]


def test_engines_without_values_have_no_stream() -> None:
    (noise,) = repeated([engine(0, 10), engine(10, 20)], rng(), 1)
    assert noise.lag is None


def engine(first: int, last: int) -> Variation:
    """An engine with 10 times as many decode as prefill steps, and neither lags nor wake steps."""
    decodes = np.arange(first, last, dtype=float)
    return Variation(decodes[::10], decodes, np.empty(0), np.empty(0))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)
