"""Samplers choose tokens on the device, seeded."""

from __future__ import annotations

import pytest
import torch

from llmbench.engine.sampling import Greedy, Random

LOGITS = torch.tensor([[0.0, 1.0, 3.0, 2.0]])


def drawn(count: int, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0) -> list[int]:
    sampler = Random(
        temperature, top_p, rows=1, vocabulary=4, device=torch.device("cpu"), seed=seed
    )  # fmt: skip
    tokens = []
    for _ in range(count):
        sampler.draw()
        tokens.append(int(sampler.choose(LOGITS)))
    return tokens


def test_greedy_takes_the_largest_logit_and_the_lowest_id_of_equals() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, 1.0]])
    assert Greedy().choose(logits).tolist() == [1, 0]


def test_equal_seeds_draw_equal_tokens() -> None:
    assert drawn(50, seed=3) == drawn(50, seed=3)
    assert drawn(50, seed=3) != drawn(50, seed=4)


def test_token_frequencies_follow_their_probabilities() -> None:
    counts = torch.bincount(torch.tensor(drawn(20_000)), minlength=4) / 20_000
    assert counts.tolist() == pytest.approx(torch.softmax(LOGITS[0], 0).tolist(), abs=0.015)


def test_a_temperature_flattens_the_distribution() -> None:
    counts = torch.bincount(torch.tensor(drawn(20_000, temperature=4.0)), minlength=4) / 20_000
    assert counts.tolist() == pytest.approx(torch.softmax(LOGITS[0] / 4, 0).tolist(), abs=0.015)


def test_a_tiny_top_p_is_greedy() -> None:
    assert set(drawn(200, top_p=1e-6)) == {2}


def test_top_p_keeps_the_smallest_set_with_that_probability() -> None:
    assert set(drawn(2_000, top_p=0.7)) == {2, 3}


@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_a_sampler_can_be_greedy_until_it_restarts(top_p: float) -> None:
    expected = drawn(20, temperature=4.0, top_p=top_p)
    sampler = Random(
        4.0, top_p, rows=1, vocabulary=4, device=torch.device("cpu"), seed=0
    )  # fmt: skip
    sampler.be_greedy()
    assert {_next(sampler) for _ in range(20)} == {2}
    sampler.restart()
    assert [_next(sampler) for _ in range(20)] == expected


def _next(sampler: Random) -> int:
    sampler.draw()
    return int(sampler.choose(LOGITS))
