"""A bounded queue: requests that arrive when it is full are rejected.

A prefill takes 0.25 s and a decode step 0.125 s on the virtual clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import count

import numpy as np
import pytest

from llmbench import testing
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.steady_rate import Poisson
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Patience, Request, Turn
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import EngineOptions


def engine(slots: int, max_queue: int, **more: object) -> EngineOptions:
    return EngineOptions.model_validate({"slots": slots, "max_queue": max_queue, **more})


def serve(options: EngineOptions, dispatch: Dispatch) -> list[Record]:
    context = testing.open_context(engine=options)
    with testing.fake_server(context, prefill=0.25, per_token=0.125) as server:
        return testing.serve(server, dispatch)


def rejected(
    options: EngineOptions, due: Sequence[float], tokens: int = 3, prompt: int = 4
) -> list[int]:
    requests = testing.requests(len(due), prompt=(1,) * prompt, tokens=tokens)
    records = serve(options, testing.dispatch(requests, due))
    return sorted(record.request_id for record in records if record.finish == "rejected")


def test_a_request_that_arrives_when_the_queue_is_full_is_rejected() -> None:
    assert rejected(engine(1, 2), [0.0, 0.1, 0.1, 0.1, 0.1]) == [3, 4]


def test_those_that_can_start_at_once_do_not_wait() -> None:
    assert rejected(engine(4, 2), [0.0] * 8) == [6, 7]


def test_without_a_queue_only_a_free_slot_admits() -> None:
    assert rejected(engine(2, 0), [0.0, 0.0, 0.0, 2.0]) == [2]


def test_a_static_batch_that_runs_admits_nobody_at_once() -> None:
    assert rejected(engine(2, 1, batching="static"), [0.0, 0.3, 0.3]) == [2]


def test_only_as_many_start_at_once_as_have_kv_tokens() -> None:
    assert rejected(engine(8, 1, kv_tokens=20), [0.0] * 5, prompt=6, tokens=2) == [3, 4]


def test_a_rejected_request_is_no_success_and_has_no_times() -> None:
    first, second = serve(engine(1, 0), testing.dispatch(testing.requests(2), [0.0, 0.1]))
    assert (first.finish, second.finish, second.succeeded) == ("length", "rejected", False)
    assert (second.due, second.sent, second.started, second.token_times) == (0.1, 0.25, None, ())


def test_in_a_closed_loop_a_rejected_user_asks_again_while_time_goes_on() -> None:
    stop = Stop(duration=10.0)
    users = Closed(Closed.Options(concurrency=4)).arrivals(stop, np.random.default_rng(0))
    pool = (Request(number, (1, 2), 4) for number in count())
    records = serve(engine(1, 1), Dispatch(pool, users, stop))
    answered = [record for record in records if record.succeeded]
    assert len(answered) > 10
    assert len(records) > 2 * len(answered)


def test_a_rejected_turn_ends_its_session() -> None:
    turns = (Turn((5,), 2, 0.0),)
    session = Request(1, (1, 2), 2, turns=turns, session=0)
    dispatch = testing.dispatch([Request(0, (1, 2), 4), session], [0.0, 0.1])
    records = serve(engine(1, 0), dispatch)
    assert [record.finish for record in records] == ["length", "rejected"]
    assert dispatch.summary.unsent_turns == 1


def test_the_place_of_a_user_who_gives_up_is_free() -> None:
    impatient = Request(1, (1, 2), 4, patience=Patience(after=0.3))
    requests = [Request(0, (1, 2), 9), impatient, Request(2, (1, 2), 1)]
    records = serve(engine(1, 1), testing.dispatch(requests, [0.0, 0.1, 0.6]))
    assert {r.request_id: r.finish for r in records} == {0: "length", 1: "abandoned", 2: "length"}


def test_displaced_requests_come_back_to_a_full_queue() -> None:
    queue = {"policy": "priority", "levels": ["chat", "batch"], "preempt": True}
    requests = [
        Request(number, (1, 2), 6, request_class=name)
        for number, name in enumerate(["batch", "chat"])
    ]
    records = serve(engine(1, 1, queue=queue), testing.dispatch(requests, [0.0, 0.3]))
    assert [record.finish for record in records] == ["length", "length"]


def erlang_b(load: float, servers: int) -> float:
    """B(0) = 1, B(n) = a B(n−1) / (n + a B(n−1)): the share of lost calls (Erlang 1917)."""
    return reduce(lambda lost, n: load * lost / (n + load * lost), range(1, servers + 1), 1.0)


@pytest.mark.parametrize(
    "load",
    [pytest.param(0.5, marks=pytest.mark.slow), 1.0, pytest.param(2.0, marks=pytest.mark.slow)],
)
def test_without_a_queue_the_share_of_rejected_requests_is_erlangs(load: float) -> None:
    """One slot and Poisson arrivals: B = a / (1 + a), for any distribution of service times."""
    number, service = 20_000, 0.01
    stop = Stop(requests=number)
    arrivals = Poisson(Poisson.Options(rate=load / service)).arrivals(stop, stream(3, "arrivals"))
    context = testing.open_context(engine=engine(1, 0))
    with testing.fake_server(context, prefill=service, service="exponential") as server:
        pool = (Request(index, (1,), 1) for index in count())
        records = testing.serve(server, Dispatch(pool, arrivals, stop))
    share = sum(record.finish == "rejected" for record in records) / number
    assert abs(share - erlang_b(load, 1)) < 0.02
