"""Named random streams."""

from __future__ import annotations

from llmbench.scenario.rng import stream


def test_a_seed_and_a_name_give_the_same_draws() -> None:
    assert stream(3, "arrivals").random(5).tolist() == stream(3, "arrivals").random(5).tolist()


def test_names_give_independent_draws() -> None:
    assert stream(3, "arrivals").random(5).tolist() != stream(3, "lengths").random(5).tolist()


def test_draws_do_not_change_between_releases() -> None:
    assert stream(0, "arrivals").integers(0, 1000, 5).tolist() == [539, 436, 840, 7, 983]
