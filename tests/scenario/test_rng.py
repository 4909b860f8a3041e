"""Named random streams."""

from __future__ import annotations

from llmbench.scenario.rng import repeat_seed, stream


def test_a_seed_and_a_name_give_the_same_draws() -> None:
    assert stream(3, "arrivals").random(5).tolist() == stream(3, "arrivals").random(5).tolist()


def test_names_give_independent_draws() -> None:
    assert stream(3, "arrivals").random(5).tolist() != stream(3, "lengths").random(5).tolist()


def test_draws_do_not_change_between_releases() -> None:
    assert stream(0, "arrivals").integers(0, 1000, 5).tolist() == [539, 436, 840, 7, 983]


def test_every_repeat_has_a_seed_of_its_own() -> None:
    seeds = {repeat_seed(seed, repeat) for seed in range(20) for repeat in range(1, 21)}
    assert len(seeds) == 400


def test_the_seed_of_a_repeat_does_not_change_between_releases() -> None:
    assert repeat_seed(0, 1) == 3657335856
