"""The requests of a lost client are those of its shard that have no answer."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint.answer import Answer, Fault
from llmbench.backends.endpoint.lost_clients import LostRequests
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Arrivals, Dispatch, Limit, RequestCycle, Shard
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request, Turn
from llmbench.scenario.rng import stream


def pool(count: int, turns: int = 0) -> list[Request]:
    later = tuple(Turn((3,), 2, 0.5, f"t{n}") for n in range(turns))
    return [Request(n * (1 + turns), (1, 2), 3, text="p", turns=later) for n in range(count)]


def shard(
    requests: Sequence[Request], arrivals: Arrivals, total: int, limit: Limit | None = None
) -> Shard:
    """Return the second half of a load, whose first three requests are not measured."""
    stop = Stop(warmup=3, requests=total - 3)
    return Dispatch(RequestCycle(requests), arrivals, stop, limit or Limit()).shard(1, 2)


def answer(request: Request, due: float, end: float) -> Answer:
    return Answer(request, due, begun=due, stamps=[end], texts=["a"])


def ids(lost: LostRequests) -> list[int]:
    return [request.id for request, _ in lost.requests]


@given(st.sets(st.integers(0, 9)))
def test_answered_and_lost_are_the_shard_in_an_open_loop(answered: set[int]) -> None:
    requests, offsets = pool(20), np.arange(20) / 4
    own = [2 * number + 1 for number in sorted(answered)]
    answers = [answer(requests[n], offsets[n], offsets[n] + 0.7) for n in own]
    lost = LostRequests.of(shard(requests, Scheduled(offsets), 20), answers, inf)
    assert ids(lost) == [n for n in range(1, 20, 2) if n not in own]
    assert [due for _, due in lost.requests] == [offsets[n] for n in ids(lost)]
    assert [r.phase for r, _ in lost.requests if r.id < 3] == ["warmup"] * (1 not in own)


def test_a_failed_answer_is_an_answer() -> None:
    requests = pool(4)
    failed = Answer(requests[1], 0.0, begun=0.25, fault=Fault("connect", "refused"))
    lost = LostRequests.of(shard(requests, Scheduled(np.zeros(4)), 4), [failed], inf)
    assert ids(lost) == [3]


def test_a_limit_in_flight_hides_no_lost_request() -> None:
    held = shard(pool(8), Scheduled(np.zeros(8)), 8, Limit(2, "drop"))
    assert ids(LostRequests.of(held, [], inf)) == [1, 3, 5, 7]


def test_requests_that_are_due_after_an_early_end_of_the_load_are_not_lost() -> None:
    load = shard(pool(8), Scheduled(np.arange(8.0)), 8)
    assert ids(LostRequests.of(load, [], 5.0)) == [1, 3, 5]


def test_in_a_closed_loop_only_what_the_users_had_sent_is_lost() -> None:
    users = Closed(Closed.Options(concurrency=4)).arrivals(Stop(), stream(0, "arrivals"))
    requests = pool(20)
    answers = [answer(requests[1], 0.0, 2.0), answer(requests[3], 0.0, 3.0)]
    lost = LostRequests.of(shard(requests, users, 20), answers, inf)
    assert [(request.id, due) for request, due in lost.requests] == [(5, 2.0), (7, 3.0)]


def test_a_session_loses_its_next_turn_and_the_turns_after_it_are_unsent() -> None:
    requests = pool(4, turns=3)
    answered = answer(requests[1], 0.0, 2.0)
    lost = LostRequests.of(shard(requests, Scheduled(np.zeros(4)), 16), [answered], inf)
    assert [(request.id, request.turn, due) for request, due in lost.requests] == [
        (12, 0, 0.0), (5, 1, 2.5),
    ]  # fmt: skip
    assert lost.unsent_turns == 3 + 2


def test_a_record_of_a_lost_request_has_the_reason_and_no_times() -> None:
    lost = LostRequests.of(shard(pool(2), Scheduled(np.zeros(2)), 2), [], inf)
    (record,) = lost.records("client 1 was killed by SIGKILL")
    assert (record.request_id, record.due, record.sent) == (1, 0.0, None)
    assert (record.error_kind, record.error_message, record.token_times) == (
        "client-lost", "client 1 was killed by SIGKILL", (),
    )  # fmt: skip
