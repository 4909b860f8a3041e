"""Requests that lose their slots to those of an earlier level, and are recomputed.

A prefill takes 0.25 s, and 1 ms per token; a decode step 0.125 s on the virtual clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmbench import testing
from llmbench.runs.record import Record
from llmbench.runs.request import Patience, Request
from llmbench.scenario.schema import EngineOptions

POLICY = {"policy": "priority", "levels": ["chat", "batch"], "preempt": True}


def serve(*requests: Request, due: Sequence[float], **engine: object) -> dict[int, Record]:
    options = EngineOptions.model_validate({"slots": 1, "queue": POLICY, **engine})
    context = testing.open_context(engine=options, keep_outputs=True)
    with testing.fake_server(
        context, prefill=0.25, prefill_per_token=0.001, per_token=0.125
    ) as server:
        records = testing.serve(server, testing.dispatch(requests, due))
    return {record.request_id: record for record in records}


def request(
    number: int, request_class: str, tokens: int, patience: Patience | None = None
) -> Request:
    return Request(number, (1,) * 100, tokens, request_class=request_class, patience=patience)


def test_a_preempted_request_keeps_its_tokens_and_goes_on_where_it_was() -> None:
    records = serve(request(0, "batch", 4), request(1, "chat", 1), due=[0.0, 0.4])
    chat, batch = records[1], records[0]
    assert chat.token_times == (0.825,)  # 0.475 and a prefill of 0.35
    assert batch.token_times[:2] == (0.35, 0.475)
    assert batch.token_times[2:] == (0.825 + 0.25 + 0.102, 0.825 + 0.25 + 0.102 + 0.125)
    assert (batch.started, batch.finish, batch.preemptions) == (0.0, "length", 1)
    assert batch.output_ids == (1, 2, 4, 5)  # of the simulated server, in the order of its steps
    assert chat.preemptions == 0


def test_requests_of_one_level_do_not_displace_each_other() -> None:
    records = serve(request(0, "chat", 3), request(1, "chat", 1), due=[0.0, 0.1])
    assert records[1].started == records[0].token_times[-1]


def test_the_last_one_of_the_last_level_goes_first() -> None:
    records = serve(
        request(0, "batch", 9), request(1, "batch", 9), request(2, "chat", 1),
        due=[0.0, 0.1, 1.0], slots=2,
    )  # fmt: skip
    assert [records[number].preemptions for number in range(3)] == [0, 1, 0]


def test_nobody_is_displaced_for_a_request_that_has_no_place_even_then() -> None:
    long = Request(2, (1,) * 250, 2, request_class="chat")
    records = serve(
        request(0, "chat", 9), request(1, "batch", 9), long,
        due=[0.0, 0.1, 1.0], slots=3, kv_tokens=300,
    )  # fmt: skip
    assert records[1].preemptions == 0
    assert records[2].started == records[0].token_times[-1]


def test_as_many_are_displaced_as_a_request_needs() -> None:
    long = Request(3, (1,) * 150, 2, request_class="chat")
    records = serve(
        request(0, "batch", 9), request(1, "batch", 9), request(2, "batch", 9), long,
        due=[0.0, 0.1, 0.2, 1.5], slots=4, kv_tokens=350,
    )  # fmt: skip
    assert [records[number].preemptions for number in range(4)] == [0, 1, 1, 0]


def test_the_user_of_a_preempted_request_can_give_up() -> None:
    impatient = request(0, "batch", 8, patience=Patience(after=0.6))
    records = serve(impatient, request(1, "chat", 4), due=[0.0, 0.4])
    gone = records[0]
    assert (gone.finish, gone.abandoned_at, gone.token_times) == ("abandoned", 0.6, (0.35, 0.475))


def test_a_server_without_preemption_never_displaces() -> None:
    queue = {**POLICY, "preempt": False}
    records = serve(request(0, "batch", 4), request(1, "chat", 1), due=[0.0, 0.4], queue=queue)
    assert records[1].started == records[0].token_times[-1]
