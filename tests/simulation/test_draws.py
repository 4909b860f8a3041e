"""Streams of values in blocks."""

from __future__ import annotations

import numpy as np

from llmbench.simulation.draws import BLOCK, BLOCK_STEPS, Draws, blocks


def test_values_are_taken_in_order() -> None:
    numbers = iter(range(10_000))
    draws = Draws(lambda count: np.array([float(next(numbers)) for _ in range(count)]), 0.0)
    assert draws.next() == 0.0
    values, at = draws.ahead(700)
    assert values[at : at + 700] == list(map(float, range(1, 701)))
    draws.skip(600)
    assert draws.next() == 601.0
    assert draws.take(3).tolist() == [602.0, 603.0, 604.0]


def test_without_a_stream_all_values_are_alike() -> None:
    assert Draws(None, 2.5).take(3).tolist() == [2.5, 2.5, 2.5]


def test_blocks_keep_the_order_of_the_measured_values() -> None:
    size = 1000
    drawn = blocks(list(range(size)), np.random.default_rng(0))
    values = np.concatenate([drawn(BLOCK) for _ in range(100)]).astype(int)
    follows = np.diff(values) % size == 1
    # a new block follows by chance once in `size`
    expected = 1 - (1 - 1 / size) / BLOCK_STEPS
    error = np.sqrt(expected * (1 - expected) / len(follows))
    assert abs(follows.mean() - expected) < 4 * error


def test_blocks_have_the_distribution_of_the_measured_values() -> None:
    drawn = blocks([1.0, 3.0], np.random.default_rng(0))
    values = np.concatenate([drawn(BLOCK) for _ in range(20)])
    assert set(values) == {1.0, 3.0}
    assert abs(values.mean() - 2) < 0.01
