"""The simulated server, and with it the timing of the engine on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from llmbench import testing
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.schema import EngineOptions

Serve = Callable[..., list[Record]]


def serve(
    dispatch: Dispatch,
    slots: int = 2,
    batching: str = "continuous",
    prefill_tokens: int | str = "auto",
    **options: object,
) -> list[Record]:
    given = {"prefill": 0.25, "per_token": 0.125, **options}
    engine = EngineOptions.model_validate(
        {"slots": slots, "batching": batching, "prefill_tokens": prefill_tokens}
    )
    with testing.fake_server(testing.open_context(engine=engine), **given) as server:
        return testing.serve(server, dispatch)


def arriving(*offsets: float, tokens: int = 3) -> Dispatch:
    requests = (Request(number, (1, 2, 3), tokens) for number in count())
    return Dispatch(requests, Scheduled(np.array(offsets)), Stop(requests=len(offsets)))


def test_the_first_token_comes_after_the_prefill_and_the_others_a_step_apart() -> None:
    (record,) = serve(arriving(1.0))
    assert record.token_times == (1.25, 1.375, 1.5)


def test_an_idle_engine_takes_a_request_when_it_is_due() -> None:
    (record,) = serve(arriving(1.0))
    assert (record.due, record.sent, record.started) == (1.0, 1.0, 1.0)


def test_a_request_that_comes_during_a_step_is_sent_when_the_step_ends() -> None:
    _, late = serve(arriving(0.0, 0.125))
    assert (late.due, late.sent) == (0.125, 0.25)


def test_a_request_joins_the_running_batch() -> None:
    first, second = serve(arriving(0.0, 0.3))
    assert first.token_times == (0.25, 0.375, 0.75)
    assert second.token_times == (0.625, 0.75, 0.875)


def test_requests_that_wait_together_share_a_prefill_and_its_times() -> None:
    records = serve(arriving(0.0, 0.0, 0.0), slots=3, prefill_tokens=6, prefill_per_token=0.0625)
    assert [record.started for record in records] == [0.0, 0.0, 0.625]
    assert [record.token_times[0] for record in records] == [0.625, 0.625, 1.0625]


def test_by_default_every_simulated_prefill_runs_one_prompt() -> None:
    first, second = serve(arriving(0.0, 0.0))
    assert (first.started, second.started) == (0.0, 0.25)
    assert (first.token_times[0], second.token_times[0]) == (0.25, 0.5)


def test_requests_that_join_together_delay_a_running_one_by_a_single_prefill() -> None:
    running, *_ = serve(arriving(0.0, 0.3, 0.3), slots=3, prefill_tokens=6)
    assert running.token_times == (0.25, 0.375, 0.75)
    running, *_ = serve(arriving(0.0, 0.3, 0.3), slots=3, prefill_tokens=1)
    assert running.token_times == (0.25, 0.375, 1.0)


def test_a_static_batch_is_filled_with_shared_prefills() -> None:
    records = serve(arriving(0.0, 0.0, 0.0, 0.0), slots=3, batching="static", prefill_tokens=6)
    assert [record.started for record in records] == [0.0, 0.0, 0.25, 0.75]


def test_a_request_waits_while_every_slot_is_taken() -> None:
    first, second = serve(arriving(0.0, 0.0), slots=1)
    assert first.token_times == (0.25, 0.375, 0.5)
    assert (second.started, second.token_times) == (0.5, (0.75, 0.875, 1.0))


def test_no_request_joins_a_static_batch_before_it_is_done() -> None:
    first, second = serve(arriving(0.0, 0.3), batching="static")
    assert first.token_times == (0.25, 0.375, 0.5)
    assert second.started == 0.5


def test_a_static_batch_takes_all_that_wait_up_to_its_slots() -> None:
    records = serve(arriving(0.0, 0.0, 0.0), batching="static")
    assert [record.started for record in records] == [0.0, 0.25, 0.75]


def test_longer_prompts_and_fuller_batches_take_longer() -> None:
    (record,) = serve(arriving(0.0), prefill_per_token=0.5, per_row=1.0)
    assert record.token_times == (1.75, 2.875, 4.0)


def test_a_stalled_server_shows_the_full_wait_from_the_due_time() -> None:
    """Coordinated omission: the requests due during a freeze have waited through it."""
    records = serve(
        arriving(*np.arange(0, 4, 0.5), tokens=1), stalls=[{"at": 1.0, "lasting": "2 s"}]
    )
    ttft = [record.token_times[0] - record.due for record in records]
    assert ttft == [0.25, 0.25, 2.25, 2.0, 1.75, 1.5, 1.25, 1.0]


def test_a_closed_loop_asks_again_when_an_answer_is_complete() -> None:
    stop = Stop(requests=2)
    requests = (Request(number, (1, 2, 3), 3) for number in count())
    users = Closed(Closed.Options()).arrivals(stop, np.random.default_rng(0))
    _, second = serve(Dispatch(requests, users, stop))
    assert second.due == 0.5


def test_a_request_of_one_token_is_done_after_its_prefill() -> None:
    (record,) = serve(arriving(0.0, tokens=1))
    assert (record.token_times, record.finish) == ((0.25,), "length")


def test_tokens_are_kept_only_when_asked_for() -> None:
    (record,) = serve(arriving(0.0))
    assert (record.output_ids, record.output_tokens) == (None, 3)


def test_the_waits_of_a_single_server_agree_with_theory() -> None:
    """M/D/1 at a load of one half: mean wait is service x rho / (2 (1 - rho))."""
    rng = np.random.default_rng(5)
    offsets = np.cumsum(rng.exponential(2.0, 40_000))
    records = serve(arriving(*offsets, tokens=1), slots=1, prefill=1.0)
    waits = [record.started - record.due for record in records if record.started is not None]
    assert np.mean(waits) == pytest.approx(0.5, rel=0.05)
