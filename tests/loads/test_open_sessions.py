"""Turns that wait for others: jobs of agents, as the dispatch sends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.loads.abandonment import Abandonment
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch, Limit, RequestCycle, RequestOutcome
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Patience, Request, Turn

FAILED = RequestOutcome(succeeded=False)
FAN_OUT = ((0,), (0,), (0, 1, 2))  # two children in parallel, and the parent again


def job(waits: Sequence[tuple[int, ...]] = FAN_OUT, delay: float = 1.0, **of: Any) -> Request:
    turns = tuple(Turn((10 + n,), 2, delay, f"t{n}", (), parents, **of)
                  for n, parents in enumerate(waits, start=1))  # fmt: skip
    return Request(0, (1, 2), 2, text="first", parents=(), turns=turns)


def open_load(*offsets: float, of: Request | None = None, **options: Any) -> Dispatch:
    stop = options.pop("stop", Stop(requests=100))
    return Dispatch(RequestCycle([of or job()]), Scheduled(np.array(offsets)), stop, **options)


def closed_load(users: int, stop: Stop, of: Request | None = None) -> Dispatch:
    arrivals = Closed(Closed.Options(concurrency=users)).arrivals(stop, np.random.default_rng(0))
    return Dispatch(RequestCycle([of or job()]), arrivals, stop)


def taken(dispatch: Dispatch, now: float) -> list[tuple[int, int, float]]:
    """Return the job, the turn and the due time of every request that is due."""
    return [(r.session or 0, r.turn, due) for r, due in dispatch.take_due(now)]


def test_children_are_due_at_once_and_the_parent_when_all_are_answered() -> None:
    dispatch = open_load(0.0)
    assert taken(dispatch, 0.0) == [(0, 0, 0.0)]
    dispatch.finish(0, 2.0)
    assert taken(dispatch, 3.0) == [(0, 1, 3.0), (0, 2, 3.0)]
    dispatch.finish(2, 4.0)
    assert dispatch.next_due() is None
    dispatch.finish(1, 6.0)
    assert taken(dispatch, 7.0) == [(0, 3, 7.0)]
    dispatch.finish(3, 8.0)
    assert (dispatch.finished, dispatch.completed, dispatch.summary.unsent_turns) == (True, 4, 0)


def test_a_join_counts_from_the_last_response_in_whatever_order_they_are_reported() -> None:
    dispatch = open_load(0.0)
    dispatch.take_due(0.0)
    dispatch.finish(0, 0.0)
    dispatch.take_due(1.0)
    dispatch.finish(1, 6.0)
    dispatch.finish(2, 4.0)
    assert dispatch.next_due() == 7.0


def test_a_turn_without_parents_counts_from_the_begin_of_the_job() -> None:
    dispatch = open_load(5.0, of=job([(), (0, 1)]))
    dispatch.take_due(5.25)
    assert dispatch.next_due() == 6.0
    assert taken(dispatch, 6.0) == [(0, 1, 6.0)]


def test_a_turn_continues_the_conversation_of_its_first_parent() -> None:
    dispatch = open_load(0.0)
    dispatch.take_due(0.0)
    dispatch.finish(0, 0.0, RequestOutcome(answer_ids=[7], answer_text="seven"))
    dispatch.take_due(1.0)
    for number in (1, 2):
        dispatch.finish(number, 2.0, RequestOutcome(answer_ids=[9], answer_text="nine"))
    ((request, _),) = dispatch.take_due(3.0)
    assert request.prompt == (1, 2, 7, 13)
    assert [message.content for message in request.chat] == ["first", "seven", "t3"]


def test_a_fresh_turn_has_only_its_own_prompt() -> None:
    dispatch = open_load(0.0, of=job(is_fresh=True))
    dispatch.take_due(0.0)
    dispatch.finish(0, 0.0, RequestOutcome(answer_ids=[7], answer_text="seven"))
    ((request, _), _) = dispatch.take_due(1.0)
    assert (request.prompt, request.history, request.whole_text) == ((11,), (), "t1")


def test_the_longest_prompt_of_a_job_is_known_before() -> None:
    assert list(job().lengths()) == [(2, 2), (5, 2), (5, 2), (5, 2)]
    assert list(job(is_fresh=True).lengths()) == [(2, 2), (1, 2), (1, 2), (1, 2)]


def test_a_failed_request_ends_its_job_and_others_in_flight_finish() -> None:
    dispatch = open_load(0.0)
    dispatch.take_due(0.0)
    dispatch.finish(0, 0.0)
    dispatch.take_due(1.0)
    dispatch.finish(1, 2.0, FAILED)
    assert dispatch.in_flight == 1
    dispatch.finish(2, 3.0)
    assert dispatch.finished
    assert dispatch.summary.unsent_turns == 1


def test_what_a_failed_job_has_scheduled_is_not_sent() -> None:
    slow = job([(0,), (0,), (1,), (2,)])
    turns = tuple(replace(turn, think_seconds=n) for n, turn in enumerate(slow.turns))
    dispatch = open_load(0.0, of=replace(slow, turns=turns))
    dispatch.take_due(0.0)
    dispatch.finish(0, 0.0)  # turn 1 is due at 0, turn 2 at 1
    assert taken(dispatch, 0.0) == [(0, 1, 0.0)]
    dispatch.finish(1, 0.5, FAILED)
    assert (dispatch.next_due(), dispatch.finished) == (None, True)
    assert dispatch.summary.unsent_turns == 3


def test_what_a_failed_job_has_scheduled_does_not_hide_other_jobs() -> None:
    dispatch = open_load(0.0, 9.0, of=job([(0,), (0,)], delay=1.0))
    dispatch.take_due(0.0)
    dispatch.finish(0, 0.0)
    (first, _) = dispatch.take_due(1.0)
    dispatch.finish(first[0].id, 2.0, FAILED)
    dispatch.finish(2, 2.0)
    assert taken(dispatch, 9.0) == [(1, 0, 9.0)]


def test_a_user_of_a_closed_load_begins_a_job_when_the_last_one_is_over() -> None:
    dispatch = closed_load(1, Stop(requests=100), job([(0,), (0,)], delay=0.0))
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0)
    dispatch.take_due(1.0)
    dispatch.finish(1, 2.0)
    assert taken(dispatch, 2.0) == []
    dispatch.finish(2, 3.0)
    assert taken(dispatch, 3.0) == [(1, 0, 3.0)]


def test_a_user_goes_on_after_a_failed_job() -> None:
    dispatch = closed_load(1, Stop(requests=100))
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0, FAILED)
    assert taken(dispatch, 1.0) == [(1, 0, 1.0)]


# -- the end of a load -----------------------------------------------------------------------------


def test_jobs_that_have_begun_go_on_when_the_load_stops() -> None:
    dispatch = closed_load(2, Stop(requests=2), job([(0,)], delay=0.0))
    assert taken(dispatch, 0.0) == [(0, 0, 0.0), (1, 0, 0.0)]
    dispatch.finish(0, 1.0)
    ((request, _),) = dispatch.take_due(1.0)
    assert (request.session, request.turn, request.phase) == (0, 1, "drain")
    dispatch.finish(request.id, 2.0)
    assert taken(dispatch, 2.0) == []
    dispatch.finish(2, 3.0)
    dispatch.take_due(3.0)
    dispatch.finish(3, 4.0)
    assert dispatch.finished
    assert (dispatch.completed, dispatch.summary.stopped_by) == (2, ["requests"])


def test_jobs_that_have_not_begun_do_not_hide_those_that_have() -> None:
    stop = Stop(duration=2.0)
    dispatch = open_load(0.0, 3.0, 4.0, of=job([(0,)], delay=5.0), stop=stop)
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0)
    assert taken(dispatch, 10.0) == [(0, 1, 6.0)]
    dispatch.finish(1, 10.0)
    assert (dispatch.finished, dispatch.summary.stopped_by) == (True, ["duration"])


@pytest.mark.parametrize("reason", ["error-rate", "client-lag"])
def test_jobs_are_cut_off_when_errors_or_a_slow_client_end_the_load(reason: Any) -> None:
    dispatch = open_load(0.0, of=job([(0,)]))
    dispatch.take_due(0.0)
    dispatch.end(reason)
    dispatch.finish(0, 1.0)
    assert (dispatch.finished, dispatch.summary.stopped_by) == (True, [reason])


def test_sessions_that_are_not_jobs_are_cut_off() -> None:
    chat = Request(0, (1,), 2, turns=(Turn((2,), 2, 0.0),))
    dispatch = Dispatch(RequestCycle([chat]), Scheduled(np.zeros(1)), Stop(requests=1))
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0)
    assert (dispatch.take_due(1.0), dispatch.finished) == ([], True)


def test_a_dropped_request_ends_its_job() -> None:
    dispatch = open_load(0.0, of=job([(0,), (0,), (1, 2)], 0.0), limit=Limit(1, "drop"))
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0)
    assert taken(dispatch, 1.0) == [(0, 1, 1.0)]
    assert [request.turn for request, _ in dispatch.summary.dropped] == [2]
    dispatch.finish(1, 2.0)
    assert (dispatch.finished, dispatch.summary.unsent_turns) == (True, 1)


def test_an_abandoned_request_ends_its_job() -> None:
    abandonment = Abandonment(0, 1.0, Patience(after=1.0))
    dispatch = open_load(0.0, of=job([(0,)]), abandonment=abandonment, limit=Limit(1))
    assert dispatch.take_due(2.0) == []
    assert (dispatch.finished, dispatch.summary.unsent_turns) == (True, 1)
    assert [request.turn for request, _ in dispatch.summary.given_up] == [0]


# -- any graph -------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, ...]]:
    turns = draw(st.integers(0, 8))
    return [
        tuple(sorted(draw(st.sets(st.integers(0, number), max_size=3)))) for number in range(turns)
    ]


@given(
    graphs=st.lists(graphs(), min_size=1, max_size=4),
    clients=st.integers(1, 3),
    requests=st.integers(1, 40),
    users=st.integers(0, 4),
    seconds=st.lists(st.floats(0, 3), min_size=7, max_size=7),
)
def test_every_request_is_due_after_all_that_it_waits_for_and_jobs_are_whole(
    graphs: list[list[tuple[int, ...]]],
    clients: int,
    requests: int,
    users: int,  # 0: an open loop
    seconds: list[float],
) -> None:
    pool = RequestCycle([job(graph, 0.5) for graph in graphs])
    stop = Stop(requests=requests)
    arrivals: Any = Scheduled(np.arange(requests, dtype=float))
    if users:
        load = Closed(Closed.Options(concurrency=users))
        arrivals = load.arrivals(stop, np.random.default_rng(0))
    for index in range(clients):
        shard = Dispatch(pool, arrivals, stop).shard(index, clients).dispatch()
        _check_whole(shard, seconds)


def _check_whole(dispatch: Dispatch, seconds: list[float]) -> None:
    """Serve a load; check that each job is complete and each request follows its parents."""
    now = 0.0
    flying: list[tuple[float, int, Request]] = []
    ends: dict[int, dict[int, float]] = {}
    whole: dict[int, int] = {}
    while not dispatch.finished:
        for request, due in dispatch.take_due(now):
            session = request.first_id
            answered = ends.setdefault(session, {})
            assert all(answered[parent] + 0.5 <= due for parent in request.parents or ())
            whole[session] = 1 + len(request.turns)
            flying.append((now + seconds[request.id % 7], request.id, request))
        flying.sort(key=lambda flight: flight[:2])
        next_due = dispatch.next_due()
        if flying and (next_due is None or flying[0][0] <= next_due):
            now, _, request = flying.pop(0)
            ends[request.first_id][request.turn] = now
            dispatch.finish(request.id, now)
        elif next_due is not None:
            now = max(now, next_due)
    assert {session: len(turns) for session, turns in ends.items()} == whole
