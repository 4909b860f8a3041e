"""The scheduling rules of a load."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch, Limit, RequestCycle, RequestOutcome
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Precision, Stop
from llmbench.runs.request import Patience, Request, Turn


def endless() -> RequestCycle:
    return RequestCycle([Request(0, (1, 2, 3), 4)])


def open_loop(*offsets: float, stop: Stop | None = None) -> Dispatch:
    return Dispatch(endless(), Scheduled(np.array(offsets)), stop or Stop(requests=len(offsets)))


def closed_loop(concurrency: int, stop: Stop, think_time: float = 0.0) -> Dispatch:
    load = Closed(Closed.Options(concurrency=concurrency, think_time=think_time))
    return Dispatch(endless(), load.arrivals(stop, np.random.default_rng(0)), stop)


def ids(taken: list[tuple[Request, float]]) -> list[int]:
    return [request.id for request, _ in taken]


def test_nothing_is_handed_out_before_it_is_due() -> None:
    assert open_loop(1.0, 2.0).take_due(0.999) == []


def test_every_due_request_is_handed_out_with_its_due_time() -> None:
    taken = open_loop(1.0, 2.0, 3.0).take_due(2.5)
    assert [(request.id, due) for request, due in taken] == [(0, 1.0), (1, 2.0)]


def test_a_late_call_gets_the_due_time_and_not_the_current_time() -> None:
    ((_, due),) = open_loop(1.0).take_due(60.0)
    assert due == 1.0


def test_the_next_due_time_is_known() -> None:
    dispatch = open_loop(1.0, 2.0)
    dispatch.take_due(1.0)
    assert dispatch.next_due() == 2.0


def test_the_upcoming_request_is_the_next_that_is_taken() -> None:
    dispatch = open_loop(1.0, 2.0)
    for number in range(2):
        upcoming = dispatch.upcoming()
        assert upcoming is not None
        assert upcoming == dispatch.upcoming()
        assert ids(dispatch.take_due(1.0 + number)) == [number] == [upcoming.id]
    assert dispatch.upcoming() is None


def test_no_request_is_upcoming_at_the_limit() -> None:
    dispatch = Dispatch(endless(), Scheduled(np.array([0.0, 0.0])), Stop(requests=2), Limit(1))
    dispatch.take_due(0.0)
    assert dispatch.upcoming() is None


def test_a_request_with_an_earlier_due_time_comes_before_the_upcoming_one() -> None:
    dispatch = open_loop(2.0)
    assert dispatch.upcoming() is not None
    dispatch.add(1.0, Request(7, (1,), 1))
    assert ids(dispatch.take_due(1.0)) == [7]
    assert ids(dispatch.take_due(2.0)) == []  # the stop rule allows one request


def test_it_is_finished_only_when_every_request_has_finished() -> None:
    dispatch = open_loop(0.0)
    dispatch.take_due(0.0)
    assert (dispatch.finished, dispatch.in_flight) == (False, 1)
    dispatch.finish(0, 1.0)
    assert (dispatch.finished, dispatch.completed) == (True, 1)


def test_a_request_that_is_not_in_flight_cannot_finish() -> None:
    with pytest.raises(KeyError):
        open_loop(0.0).finish(7, 1.0)


def test_a_closed_loop_sends_one_request_per_user_at_once() -> None:
    assert ids(closed_loop(3, Stop(requests=10)).take_due(0.0)) == [0, 1, 2]


def test_in_a_closed_loop_an_answer_triggers_the_next_request() -> None:
    dispatch = closed_loop(1, Stop(requests=2))
    dispatch.take_due(0.0)
    assert dispatch.next_due() is None
    dispatch.finish(0, 5.0)
    ((request, due),) = dispatch.take_due(5.0)
    assert (request.id, due) == (1, 5.0)


def test_a_user_thinks_before_the_next_request() -> None:
    dispatch = closed_loop(1, Stop(requests=2), think_time=2.0)
    dispatch.take_due(0.0)
    dispatch.finish(0, 5.0)
    due = dispatch.next_due()
    assert due is not None
    assert due > 5.0


def test_a_closed_loop_stops_after_the_requested_number() -> None:
    dispatch = closed_loop(2, Stop(requests=3))
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0)
    dispatch.take_due(1.0)
    dispatch.finish(1, 2.0)
    assert dispatch.take_due(2.0) == []
    assert not dispatch.finished
    dispatch.finish(2, 3.0)
    assert dispatch.finished


def test_warm_up_requests_are_sent_in_addition_to_the_measured_ones() -> None:
    dispatch = closed_loop(100, Stop(warmup=2, requests=3))
    assert len(dispatch.take_due(0.0)) == 5


def test_a_duration_counts_from_the_first_measured_request() -> None:
    dispatch = open_loop(0.0, 10.0, 14.9, 15.0, stop=Stop(warmup=1, duration=5.0))
    assert ids(dispatch.take_due(100.0)) == [0, 1, 2]
    assert dispatch.next_due() is None


def test_a_closed_loop_sends_nothing_after_its_duration() -> None:
    dispatch = closed_loop(1, Stop(duration=5.0))
    dispatch.take_due(0.0)
    dispatch.finish(0, 4.0)
    assert ids(dispatch.take_due(4.0)) == [1]
    dispatch.finish(1, 5.0)
    assert dispatch.finished


@given(
    concurrency=st.integers(1, 8),
    requests=st.integers(1, 40),
    services=st.lists(st.floats(0, 10), min_size=50, max_size=50),
)
def test_a_closed_loop_never_exceeds_its_concurrency_and_sends_each_request_once(
    concurrency: int, requests: int, services: list[float]
) -> None:
    dispatch = closed_loop(concurrency, Stop(requests=requests))
    now, seen, flying = 0.0, [], []
    while not dispatch.finished:
        taken = ids(dispatch.take_due(now))
        seen += taken
        flying += taken
        assert dispatch.in_flight == len(flying) <= concurrency
        done = flying.pop(0)
        now += services[done % 50]
        dispatch.finish(done, now)
    assert seen == list(range(requests))


def limited(limit: Limit, *offsets: float) -> Dispatch:
    stop = Stop(requests=len(offsets))
    return Dispatch(endless(), Scheduled(np.array(offsets)), stop, limit)


def test_the_limit_in_flight_is_kept_and_due_times_are_unchanged() -> None:
    dispatch = limited(Limit(2), 0.0, 0.1, 0.2)
    assert ids(dispatch.take_due(1.0)) == [0, 1]
    assert dispatch.next_due() is None
    assert not dispatch.finished
    dispatch.finish(0, 2.0)
    assert [(request.id, due) for request, due in dispatch.take_due(2.0)] == [(2, 0.2)]


def test_requests_that_fall_due_at_the_limit_can_be_dropped() -> None:
    dispatch = limited(Limit(1, "drop"), 0.0, 0.1, 0.2, 0.5)
    assert ids(dispatch.take_due(0.0)) == [0]
    dispatch.finish(0, 0.3)  # 1 and 2 fell due before that
    assert dispatch.take_due(0.3) == []
    assert ids(dispatch.take_due(0.5)) == [3]
    assert [(request.id, due) for request, due in dispatch.summary.dropped] == [(1, 0.1), (2, 0.2)]
    dispatch.finish(3, 0.6)
    assert dispatch.finished
    assert dispatch.completed == 4


def test_a_late_request_is_not_dropped() -> None:
    dispatch = limited(Limit(2, "drop"), 0.0, 0.1)
    assert ids(dispatch.take_due(5.0)) == [0, 1]
    assert dispatch.summary.dropped == []


def sent(dispatch: Dispatch) -> list[tuple[float, int]]:
    """Return everything that a load sends when every request is answered at once."""
    taken: list[tuple[float, int]] = []
    while (due := dispatch.next_due()) is not None:
        for request, moment in dispatch.take_due(due):
            taken.append((moment, request.id))
            dispatch.finish(request.id, moment + 0.25)
    assert dispatch.finished
    return taken


@given(st.lists(st.floats(0, 50), max_size=40).map(sorted), st.integers(0, 5), st.integers(1, 5))
def test_the_shards_of_an_open_load_are_the_whole_load(
    offsets: list[float], warmup: int, clients: int
) -> None:
    stop = Stop(warmup=min(warmup, len(offsets)), requests=len(offsets) - min(warmup, len(offsets)))

    def whole() -> Dispatch:
        return Dispatch(RequestCycle([Request(n, (1,), 1) for n in range(len(offsets))]),
                        Scheduled(np.array(offsets, dtype=float)), stop)  # fmt: skip

    parts = [sent(whole().shard(index, clients).dispatch()) for index in range(clients)]
    assert sorted(pair for part in parts for pair in part) == sorted(sent(whole()))


@given(st.integers(1, 6), st.integers(1, 30), st.integers(1, 4))
def test_the_shards_of_a_closed_load_have_all_its_users_and_requests(
    concurrency: int, requests: int, clients: int
) -> None:
    stop = Stop(requests=requests)
    users = Closed(Closed.Options(concurrency=concurrency))
    pool = RequestCycle([Request(0, (1,), 1)])
    parts = []
    for index in range(clients):
        arrivals = users.arrivals(stop, np.random.default_rng(0))
        part = Dispatch(pool, arrivals, stop).shard(index, clients).dispatch()
        parts.append((sum(due == 0 for due, _ in sent(part)), part))
    assert sum(starts for starts, _ in parts) == min(concurrency, requests)
    if clients <= concurrency:
        assert sum(part.completed for _, part in parts) == requests


def test_users_of_different_clients_have_different_think_times() -> None:
    stop = Stop(requests=100)
    whole = closed_loop(2, stop, think_time=1.0)
    second_dues = [
        sent(closed_loop(2, stop, think_time=1.0).shard(index, 2).dispatch())[1][0]
        for index in (0, 1)
    ]
    assert second_dues[0] != second_dues[1]
    assert whole.shard(0, 2).stop.total == 50


def test_a_limit_is_sharded_with_at_least_one_request_per_client() -> None:
    assert [Limit(5).shard(index, 3).in_flight for index in range(3)] == [2, 2, 1]
    assert [Limit(1).shard(index, 2).in_flight for index in range(2)] == [1, 1]


def session(*thinking: float) -> Request:
    turns = tuple(Turn((10 + n, 11), 2, pause, text=f"t{n}") for n, pause in enumerate(thinking))
    return Request(0, (1, 2), 2, text="first", session=0, turns=turns)


def one_session(*thinking: float, stop: Stop | None = None) -> Dispatch:
    first = session(*thinking)
    later = (Request(number, (5,), 2) for number in count(100))
    requests = (first if n == 0 else next(later) for n in count())
    return Dispatch(requests, Scheduled(np.zeros(1)), stop or Stop(requests=len(thinking) + 1))


def test_the_next_turn_falls_due_after_the_think_time() -> None:
    dispatch = one_session(3.0)
    dispatch.take_due(0.0)
    assert dispatch.next_due() is None
    assert not dispatch.finished
    dispatch.finish(0, 2.0, RequestOutcome(answer_ids=[7, 8], answer_text="seven"))
    ((request, due),) = dispatch.take_due(5.0)
    assert (due, request.turn, request.session) == (5.0, 1, 0)


def test_a_turn_contains_the_history_with_the_actual_answers() -> None:
    dispatch = one_session(0.0, 0.0)
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0, RequestOutcome(answer_ids=[7, 8], answer_text="a"))
    dispatch.take_due(1.0)
    dispatch.finish(1, 2.0, RequestOutcome(answer_ids=[9], answer_text="b"))
    ((request, _),) = dispatch.take_due(2.0)
    assert request.prompt == (1, 2, 7, 8, 10, 11, 9, 11, 11)
    history = [(message.role, message.content) for message in request.history]
    said = ("first", "a", "t0", "b")
    assert history == list(zip(("user", "assistant") * 2, said, strict=True))
    assert request.text == "t1"


def test_a_session_ends_with_a_turn_that_fails() -> None:
    dispatch = one_session(0.0, 0.0)
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0, RequestOutcome(succeeded=False))
    assert dispatch.finished
    assert dispatch.summary.unsent_turns == 2


def test_in_a_closed_loop_a_user_starts_a_new_session_after_the_last_turn() -> None:
    stop = Stop(requests=3)
    requests = iter([session(0.0), Request(2, (5,), 2)])
    users = Closed(Closed.Options(concurrency=1)).arrivals(stop, np.random.default_rng(0))
    dispatch = Dispatch(requests, users, stop)
    seen = []
    for now in (0.0, 1.0, 2.0):
        ((request, _),) = dispatch.take_due(now)
        seen.append(request.id)
        dispatch.finish(request.id, now + 1.0)
    assert seen == [0, 1, 2]


def test_turns_count_as_requests() -> None:
    dispatch = one_session(0.0, 0.0, stop=Stop(warmup=1, requests=1))
    phases = []
    for now in (0.0, 1.0):
        ((request, _),) = dispatch.take_due(now)
        phases.append(request.phase)
        dispatch.finish(request.id, now + 1.0)
    assert phases == ["warmup", "measured"]
    assert dispatch.finished
    assert dispatch.summary.stopped_by == ["requests"]


def test_a_closed_loop_goes_on_until_both_minima_are_reached() -> None:
    dispatch = closed_loop(1, Stop(min_requests=2, min_duration=5.0))
    now, taken = 0.0, 0
    while not dispatch.finished:
        for request, _ in dispatch.take_due(now):
            taken += 1
            now += 2.0
            dispatch.finish(request.id, now)
    assert taken == 3  # due at 0, 2 and 4
    assert dispatch.summary.stopped_by == ["minimum"]


def serve(dispatch: Dispatch, outcomes: Iterator[RequestOutcome]) -> int:
    """Answer each request after a second, until the load ends; count them."""
    now = 0.0
    while not dispatch.finished:
        for request, _ in dispatch.take_due(now):
            dispatch.finish(request.id, now + 1.0, next(outcomes))
        now += 1.0
    return dispatch.completed


def test_too_many_failures_end_a_load_early() -> None:
    dispatch = closed_loop(1, Stop(requests=1000, error_rate=0.5))
    assert serve(dispatch, (RequestOutcome(succeeded=False) for _ in count())) == 20
    assert dispatch.summary.stopped_by == ["error-rate"]


def test_a_load_ends_when_its_percentile_is_precise_enough() -> None:
    stop = Stop(requests=5000, precision=Precision("e2e", 50, within=0.05))
    dispatch = closed_loop(1, stop)
    assert serve(dispatch, (RequestOutcome(first_token=0.0) for _ in count())) < 450
    assert dispatch.summary.stopped_by == ["precision"]


def test_a_precision_does_not_end_a_load_before_its_minima() -> None:
    stop = Stop(requests=5000, min_requests=600, precision=Precision("e2e", 50, within=0.05))
    assert 600 <= serve(closed_loop(1, stop), (RequestOutcome() for _ in count())) <= 660


def test_a_load_can_be_ended_early() -> None:
    dispatch = open_loop(0.0, 1.0)
    dispatch.take_due(0.0)
    dispatch.end("client-lag")
    assert dispatch.take_due(1.0) == []
    dispatch.finish(0, 2.0)
    assert dispatch.finished
    assert dispatch.summary.stopped_by == ["client-lag"]


def test_a_load_whose_schedule_was_sent_completely_was_stopped_by_it() -> None:
    dispatch = open_loop(0.0, stop=Stop(duration=9.0))
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0)
    assert dispatch.summary.stopped_by == ["schedule"]


def test_progress_has_finished_requests_and_their_latencies_once() -> None:
    dispatch = open_loop(1.0, 2.0)
    dispatch.take_due(2.0)
    dispatch.finish(0, 3.0, RequestOutcome(first_token=1.5, token_times=[1.5, 3.0], tokens=2))
    progress = dispatch.progress()
    assert (progress.completed, progress.total, progress.failed, progress.output_tokens) == (
        1,
        2,
        0,
        2,
    )
    assert (progress.at, progress.ttft_seconds, progress.itl_seconds) == (3.0, [0.5], [1.5])
    assert dispatch.progress().ttft_seconds == []


def test_progress_counts_tokens_of_the_warm_up_but_not_its_latencies() -> None:
    dispatch = open_loop(0.0, 1.0, stop=Stop(warmup=1, requests=1))
    dispatch.take_due(0.0)
    dispatch.finish(0, 0.5, RequestOutcome(first_token=0.5, token_times=[0.5], tokens=1))
    progress = dispatch.progress()
    assert (progress.completed, progress.output_tokens, progress.ttft_seconds) == (1, 1, [])


def test_progress_counts_failed_and_dropped_requests() -> None:
    dispatch = Dispatch(
        endless(), Scheduled(np.array([0.0, 0.5])), Stop(requests=2), Limit(1, "drop")
    )
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0, RequestOutcome(succeeded=False))
    assert dispatch.progress().failed == 2


def test_the_progress_of_shards_is_added_to_the_whole() -> None:
    dispatch = open_loop(0.0, 1.0, 2.0)
    shard = dispatch.shard(0, 2).dispatch()
    before = shard.progress()
    shard.take_due(0.0)
    shard.finish(0, 0.5, RequestOutcome(first_token=0.25, token_times=[0.25], tokens=1))
    dispatch.add_progress(before, shard.progress())
    progress = dispatch.progress()
    assert (progress.completed, progress.total, progress.ttft_seconds) == (1, 3, [0.25])


GIVEN_UP = RequestOutcome(succeeded=False, abandoned=True, tokens=2)


def test_a_session_ends_with_a_turn_that_is_abandoned() -> None:
    dispatch = one_session(0.0, 0.0)
    dispatch.take_due(0.0)
    dispatch.finish(0, 1.0, GIVEN_UP)
    assert dispatch.finished
    assert dispatch.summary.unsent_turns == 2


def test_abandoned_requests_are_not_in_the_error_rate_nor_in_the_progress_as_failed() -> None:
    stop = Stop(requests=200, error_rate=0.1)
    dispatch = Dispatch(endless(), Scheduled(np.zeros(200)), stop)
    for request, _ in dispatch.take_due(0.0):
        dispatch.finish(request.id, 1.0, GIVEN_UP)
    assert dispatch.summary.stopped_by == ["requests"]
    assert (dispatch.progress().failed, dispatch.progress().output_tokens) == (0, 400)


def test_who_gives_up_while_waiting_for_others_is_not_taken() -> None:
    pool = [Request(0, (1,), 4), Request(1, (1,), 4, patience=Patience(after=2.0))]
    dispatch = Dispatch(pool, Scheduled(np.zeros(2)), Stop(requests=2), Limit(1))
    assert [request.id for request, _ in dispatch.take_due(0.0)] == [0]
    dispatch.finish(0, 2.0)
    assert dispatch.take_due(2.0) == []
    assert dispatch.finished
    assert [(request.id, due) for request, due in dispatch.summary.given_up] == [(1, 0.0)]
