"""Which requests are abandoned is a seeded draw."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.loads.abandonment import BLOCK, Abandonment, abandonment_of
from llmbench.loads.dispatch import Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Patience, Request, Turn
from llmbench.scenario.schema import Scenario

PATIENCE = Patience(after=2.0)


def drawn(ids: list[int], share: float, seed: int, patience: Patience = PATIENCE) -> set[int]:
    """Return which requests of these ids, drawn in this order, are abandoned."""
    draw = Abandonment(seed, share, patience).draw()
    return {number for number in ids if draw(Request(number, (1,), 16)).patience}


@given(
    ids=st.lists(st.integers(0, 3 * BLOCK), unique=True, max_size=20),
    seed=st.integers(0, 2**32),
    share=st.floats(0, 1),
    data=st.data(),
)
def test_the_draw_depends_only_on_the_seed_and_the_id(
    ids: list[int], seed: int, share: float, data: st.DataObject
) -> None:
    some = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    assert drawn(some, share, seed) == drawn(ids, share, seed) & set(some)


def test_every_request_has_the_same_chance() -> None:
    ids, seeds = [0, 1, 2, 1000, BLOCK - 1, BLOCK, 2 * BLOCK + 1], range(2000)
    counts = dict.fromkeys(ids, 0)
    for seed in seeds:
        for number in drawn(ids, 0.25, seed):
            counts[number] += 1
    deviation = (len(seeds) * 0.25 * 0.75) ** 0.5
    assert all(abs(count - 500) < 3 * deviation for count in counts.values())


def test_nobody_gives_up_at_a_share_of_0_and_everybody_at_1() -> None:
    ids = list(range(1000))
    assert drawn(ids, 0.0, seed=3) == set()
    assert drawn(ids, 1.0, seed=3) == set(ids)


def test_a_larger_share_adds_requests_to_those_of_a_smaller_one() -> None:
    ids = list(range(200))
    assert drawn(ids, 0.1, seed=3) < drawn(ids, 0.5, seed=3)


@pytest.mark.parametrize(("tokens", "abandoned"), [(15, {0}), (16, set()), (17, set())])
def test_a_response_without_more_tokens_than_tolerated_is_not_abandoned(
    tokens: int, abandoned: set[int]
) -> None:
    assert drawn([0], 1.0, 0, Patience(tokens=tokens)) == abandoned


def test_any_number_of_clients_abandons_the_same_requests() -> None:
    def taken(dispatch: Dispatch) -> set[int]:
        return {request.id for request, _ in dispatch.take_due(0.0) if request.patience}

    def whole() -> Dispatch:
        pool = RequestCycle([Request(0, (1,), 4)])
        abandonment = Abandonment(7, 0.3, PATIENCE)
        arrivals = Scheduled(np.zeros(60))
        return Dispatch(pool, arrivals, Stop(requests=60), abandonment=abandonment)

    shards = [whole().shard(index, 3).dispatch() for index in range(3)]
    assert set.union(*map(taken, shards)) == taken(whole())


def test_the_draw_is_the_same_for_all_cases_and_follows_the_seed_of_the_repeat() -> None:
    def of(seed: int, backend: str) -> Abandonment | None:
        return abandonment_of(
            Scenario.model_validate(
                {
                    "name": "a", "model": "builtin:tiny", "workload": "prompts", "load": "closed",
                    "requests": 1, "backends": [backend], "seed": seed,
                    "abandon": {"share": 0.5, "tokens": 4},
                }
            )
        )  # fmt: skip

    assert of(1, "fake") == of(1, "eager") == Abandonment(1, 0.5, Patience(tokens=4))
    assert of(1, "fake") != of(2, "fake")


def test_a_later_turn_of_a_session_has_its_own_draw() -> None:
    turns = (Turn((2,), 4, 0.0),)
    first = Request(0, (1,), 4, turns=turns, patience=PATIENCE)
    assert first.next_turn(1, (5,), "").patience is None


def test_the_requests_of_a_cycle_are_drawn_by_their_own_ids() -> None:
    numbers = [request.id for request in islice(RequestCycle([Request(0, (1,), 16)]), 50)]
    assert drawn(numbers, 0.2, 5) == drawn(list(range(50)), 0.2, 5)
