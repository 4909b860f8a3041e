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
    expected = 1 - 1 / (size / -(-size // BLOCK_STEPS))  # a new block may follow by chance
    assert expected - 0.001 < follows.mean() < expected + 0.003


def test_every_measured_value_comes_once_before_any_comes_again() -> None:
    drawn = blocks(list(range(1000)), np.random.default_rng(0))
    for _ in range(3):
        values = np.concatenate([drawn(300), drawn(700)])
        assert sorted(values) == list(range(1000))


def test_blocks_come_in_another_order_each_time() -> None:
    drawn = blocks(list(range(1000)), np.random.default_rng(0))
    assert drawn(1000).tolist() != drawn(1000).tolist()
