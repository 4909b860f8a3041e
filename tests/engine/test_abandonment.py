"""Users of a local engine who give up.

A prefill takes 0.25 s and a decode step 0.125 s on the virtual clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from llmbench import testing
from llmbench.engine.engine import Engine
from llmbench.loads.clock import VirtualClock
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch, Limit
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Patience, Request
from llmbench.scenario.schema import EngineOptions

AFTER, TOKENS = Patience(after=0.45), Patience(tokens=2)


def request(number: int, tokens: int = 8, patience: Patience | None = None) -> Request:
    return Request(number, (1, 2, 3), tokens, patience=patience)


def serve(
    *requests: Request, slots: int = 1, batching: str = "continuous", due: Sequence[float] = ()
) -> list[Record]:
    engine = EngineOptions.model_validate({"slots": slots, "batching": batching})
    context = testing.open_context(engine=engine)
    with testing.fake_server(context, prefill=0.25, per_token=0.125) as server:
        return testing.serve(server, testing.dispatch(requests, due or [0.0] * len(requests)))


def test_a_request_has_the_tokens_that_came_before_its_user_gave_up() -> None:
    (record,) = serve(request(0, patience=AFTER))
    assert (record.finish, record.abandoned_at, record.error_kind) == ("abandoned", 0.45, None)
    assert (record.token_times, record.output_tokens) == ((0.25, 0.375), 2)


def test_a_token_that_comes_at_that_moment_is_received() -> None:
    (record,) = serve(request(0, patience=Patience(after=0.375)))
    assert (record.token_times, record.abandoned_at) == ((0.25, 0.375), 0.375)


def test_the_slot_is_free_after_the_step_that_ran_then() -> None:
    _, waiting = serve(request(0, patience=AFTER), request(1))
    assert (waiting.started, waiting.token_times[0]) == (0.5, 0.75)


def test_after_a_number_of_tokens_the_slot_is_free_at_once() -> None:
    record, waiting = serve(request(0, patience=TOKENS), request(1))
    assert (record.finish, record.abandoned_at) == ("abandoned", 0.375)
    assert (record.token_times, waiting.started) == ((0.25, 0.375), 0.375)


def test_a_user_can_give_up_during_the_prefill() -> None:
    record, waiting = serve(request(0, patience=Patience(after=0.125)), request(1))
    assert (record.token_times, record.started, record.abandoned_at) == ((), 0.0, 0.125)
    assert waiting.started == 0.25


def test_a_user_who_gives_up_in_the_queue_leaves_it() -> None:
    first, gone, last = serve(
        request(0, tokens=3), request(1, patience=Patience(after=0.3)), request(2, tokens=1)
    )
    assert (first.finish, first.token_times[-1]) == ("length", 0.5)
    assert (gone.finish, gone.abandoned_at, gone.started, gone.token_times) == (
        "abandoned", 0.3, None, (),
    )  # fmt: skip
    assert last.started == 0.5


def test_a_request_that_is_finished_before_is_a_success() -> None:
    (record,) = serve(request(0, tokens=3, patience=Patience(after=0.5)))
    assert (record.finish, record.abandoned_at, record.succeeded) == ("length", None, True)


def test_a_last_token_that_comes_too_late_is_not_received() -> None:
    (record,) = serve(request(0, tokens=3, patience=AFTER))
    assert (record.finish, record.output_tokens, record.succeeded) == ("abandoned", 2, False)


def test_the_others_of_a_batch_go_on() -> None:
    gone, other = serve(request(0, patience=AFTER), request(1, tokens=4), slots=2)
    assert (gone.abandoned_at, gone.token_times) == (0.45, (0.25,))
    assert other.token_times == (0.5, 0.625, 0.75, 0.875)


def test_the_others_of_a_static_batch_keep_it_closed() -> None:
    *_, waiting = serve(
        request(0, patience=TOKENS), request(1, tokens=3), request(2, tokens=1),
        slots=2, batching="static",
    )  # fmt: skip
    assert waiting.started == 0.75


def test_patience_counts_from_the_due_time() -> None:
    _, late = serve(request(0, tokens=5), request(1, patience=AFTER), due=[0.0, 0.5])
    assert (late.started, late.abandoned_at, late.token_times) == (0.75, 0.95, ())


def test_in_a_closed_loop_a_user_who_gives_up_asks_again_at_once() -> None:
    stop = Stop(requests=2)
    users = Closed(Closed.Options()).arrivals(stop, np.random.default_rng(0))
    pool = [request(0, patience=AFTER), request(1)]
    with testing.fake_server(prefill=0.25, per_token=0.125) as server:
        _, second = testing.serve(server, Dispatch(pool, users, stop))
    assert (second.due, second.sent) == (0.45, 0.5)


def test_who_gives_up_at_the_limit_of_requests_in_flight_is_never_sent() -> None:
    pool = [request(0), request(1, patience=AFTER)]
    dispatch = Dispatch(pool, Scheduled(np.zeros(2)), Stop(requests=2), Limit(1))
    with testing.fake_server(prefill=0.25, per_token=0.125) as server:
        (record,) = testing.serve(server, dispatch)
    assert record.request_id == 0
    assert [(gone.id, due) for gone, due in dispatch.summary.given_up] == [(1, 0.0)]
    assert dispatch.finished


class Pairs:
    """A runner that decodes two tokens per step, as with speculative decoding."""

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        del slot, prompt
        return 1

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        return [[1, 1] for _ in slots]


@pytest.mark.parametrize(("tolerated", "received"), [(1, 1), (2, 3), (3, 3)])
def test_the_chunk_with_the_last_tolerated_token_is_received_whole(
    tolerated: int, received: int
) -> None:
    engine = Engine(Pairs(), VirtualClock(), slots=1)
    patience = Patience(tokens=tolerated)
    (record,) = engine.serve(testing.dispatch([request(0, patience=patience)]))
    assert (record.finish, record.output_tokens) == ("abandoned", received)
