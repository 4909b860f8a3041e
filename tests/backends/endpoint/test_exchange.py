"""What bytes, and the times they were read, become."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.record_builder import spread_tokens
from llmbench.runs.request import Request


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def piece(**delta: Any) -> bytes:
    return event({"choices": [{"delta": delta}]})


def streamed(*parts: bytes) -> Exchange:
    """Return an exchange whose parts were read at 1 s, 2 s, 3 s..."""
    exchange = Exchange(Request(0, (1,), 4), due=0.0, streamed=True)
    exchange.begin(200, "text/event-stream")
    for moment, part in enumerate(parts, start=1):
        exchange.body(float(moment), part)
    exchange.end(99.0)
    return exchange


DONE = event(b"[DONE]")


def test_each_chunk_has_the_time_it_was_read() -> None:
    exchange = streamed(piece(content="a"), piece(content="b"), DONE)
    assert (exchange.stamps, exchange.texts, exchange.done_at) == ([1.0, 2.0], ["a", "b"], 3.0)
    assert exchange.fault is None


def test_role_and_empty_chunks_are_not_tokens() -> None:
    assert streamed(piece(role="assistant", content=""), piece(content="a"), DONE).stamps == [2.0]


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
def test_reasoning_is_tokens_but_not_content(key: str) -> None:
    exchange = streamed(piece(**{key: "hm"}), piece(content="a"), DONE)
    assert (exchange.stamps, exchange.first_content) == ([1.0, 2.0], 2.0)


def test_tool_calls_and_refusals_are_content() -> None:
    called = streamed(piece(tool_calls=[{"function": {"arguments": "{}"}}]), DONE)
    refused = streamed(piece(refusal="no"), DONE)
    assert called.first_content == refused.first_content == 1.0


def test_the_text_of_a_completion_is_content() -> None:
    assert streamed(event({"choices": [{"text": "a"}]}), DONE).texts == ["a"]


def test_the_last_usage_counts() -> None:
    counts = [event({"choices": [], "usage": {"completion_tokens": n}}) for n in (1, 2)]
    assert streamed(*counts, DONE).counted == 2


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"error": {"message": "out of memory"}}, "out of memory"),
        ({"error": "out of memory"}, "out of memory"),
        ({"object": "error", "message": "out of memory"}, "out of memory"),
        ({"error": {"error": {"message": "out of memory"}}}, "out of memory"),
    ],
)
def test_an_error_in_a_stream_is_recognized_in_every_form(error: Any, message: str) -> None:
    fault = streamed(piece(content="a"), event(error), DONE).fault
    assert fault is not None
    assert (fault.kind, fault.message) == ("server-error", message)


@pytest.mark.parametrize(("reason", "kind"), [("length", None), (None, "truncated")])
def test_a_stream_without_done_needs_a_finish_reason(reason: str | None, kind: str | None) -> None:
    exchange = Exchange(Request(0, (1,), 4), due=0.0, streamed=True, needs_done=False)
    exchange.begin(200, "text/event-stream")
    exchange.body(1.0, event({"choices": [{"text": "a", "finish_reason": reason}]}))
    exchange.end(1.0)
    assert (exchange.fault.kind if exchange.fault else None) == kind


def test_the_first_fault_counts() -> None:
    exchange = streamed(event(b"{"), event({"error": "later"}))
    assert exchange.fault is not None
    assert exchange.fault.kind == "invalid-chunk"


def test_an_endless_event_is_a_fault() -> None:
    exchange = Exchange(Request(0, (1,), 4), due=0.0, streamed=True)
    exchange.begin(200, "text/event-stream")
    for _ in range(17):
        exchange.body(1.0, b"x" * 2**16)
    assert exchange.fault is not None
    assert exchange.fault.kind == "too-large"


def test_an_unstreamed_answer_is_one_chunk_when_it_is_complete() -> None:
    exchange = Exchange(Request(0, (1,), 4), due=0.0, streamed=False)
    exchange.begin(200, "application/json")
    body = json.dumps({"choices": [{"message": {"content": "all of it"}}]}).encode()
    exchange.body(1.0, body[:9])
    exchange.body(2.0, body[9:])
    exchange.end(2.0)
    assert (exchange.stamps, exchange.texts, exchange.fault) == ([2.0], ["all of it"], None)


@pytest.mark.parametrize(
    ("reason", "tokens", "finish"),
    [("length", 1, "length"), ("stop", 4, "eos"), (None, 4, "length"), (None, 3, "eos")],
)
def test_how_an_answer_ended_is_what_the_server_says_or_follows_from_its_length(
    reason: str | None, tokens: int, finish: str
) -> None:
    exchange = Exchange(Request(0, (1,), 4), due=0.0, streamed=True, finish_reason=reason)
    assert exchange.finish(tokens) == finish


@given(total=st.integers(0, 500), texts=st.lists(st.text(min_size=1), max_size=40))
def test_tokens_are_spread_over_chunks_without_losing_one(total: int, texts: list[str]) -> None:
    counts = spread_tokens(total, texts)
    assert len(counts) == len(texts)
    assert sum(counts) == (total if texts else 0)
    assert min(counts, default=1) >= (total >= len(texts))


def test_longer_chunks_get_more_of_the_tokens() -> None:
    assert spread_tokens(10, ["a", "a" * 9]) == (1, 9)
    assert spread_tokens(2, ["a", "b", "c"]) == (1, 1, 0)
    assert spread_tokens(3, ["a", "b", "c"]) == (1, 1, 1)


# -- odd servers -----------------------------------------------------------------------------------


def test_an_event_that_a_proxy_wraps_twice_is_read() -> None:
    wrapped = [b"data: " + part for part in (piece(content="a"), DONE)]
    assert streamed(*wrapped).texts == ["a"]


@pytest.mark.parametrize("done", [b"[DONE] ", b" [DONE]\t", b'"[DONE]"', b"[done]"])
def test_done_may_be_written_otherwise(done: bytes) -> None:
    exchange = streamed(piece(content="a"), event(done))
    assert (exchange.done_at, exchange.fault) == (2.0, None)


@pytest.mark.parametrize(
    "nothing", [b"", b"  ", b"null", b"{}", b"[]", b'{"choices": null}', b'{"choices": {}}']
)
def test_events_without_content_are_ignored(nothing: bytes) -> None:
    exchange = streamed(event(nothing), piece(content="a"), event(nothing), DONE)
    assert (exchange.stamps, exchange.fault) == ([2.0], None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (b"upstream connect error", "upstream connect error"),
        (b'["out of memory", "try later"]', "out of memory; try later"),
        (b'[{"error": {"message": "out of memory"}}]', "out of memory"),
        (b'{"detail": "out of memory"}', "out of memory"),
        (b'"out of memory"', "out of memory"),
    ],
)
def test_errors_in_a_stream_are_found_without_an_error_field(error: bytes, message: str) -> None:
    fault = streamed(piece(content="a"), event(error), DONE).fault
    assert fault is not None
    assert (fault.kind, fault.message) == ("server-error", message)


@pytest.mark.parametrize("error", ["", None, {}, [], False, {"message": "", "code": None}])
def test_an_empty_error_is_none(error: Any) -> None:
    chunk = {"choices": [{"delta": {"content": "a"}}], "error": error}
    assert streamed(event(chunk), DONE).texts == ["a"]


def test_only_the_choice_with_index_0_is_the_answer() -> None:
    both = {"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]}
    other = {"choices": [{"index": 1, "text": "b"}]}
    exchange = streamed(event(both), event(other), DONE)
    assert (exchange.texts, exchange.has_more_choices) == (["a"], True)


def test_a_finish_reason_that_is_not_text_is_unknown() -> None:
    ended = event({"choices": [{"finish_reason": {"type": "stop"}}]})
    exchange = streamed(piece(content="a"), ended, DONE)
    assert (exchange.finish_reason, exchange.finish(4)) == ("unknown", "eos")


def test_a_stream_that_goes_on_after_its_length_is_cut() -> None:
    exchange = streamed(*[piece(content=" word")] * 1000)
    assert exchange.fault is not None
    assert (exchange.fault.kind, len(exchange.texts)) == ("too-many-tokens", 279)


def test_a_chunk_per_character_is_not_too_long() -> None:
    assert streamed(*[piece(content="a")] * 900, DONE).fault is None


def test_a_long_text_in_few_chunks_is_not_too_long() -> None:
    assert streamed(*[piece(content="word " * 1000)] * 50, DONE).fault is None


def test_long_reasoning_before_an_answer_is_not_too_long() -> None:
    thoughts = [piece(reasoning_content="thought ")] * 1000
    assert streamed(*thoughts, piece(content="a"), DONE).fault is None


def test_a_stream_without_a_requested_length_is_not_cut_by_it() -> None:
    exchange = Exchange(Request(0, (1,), 4), due=0.0, limits_length=False)
    exchange.begin(200, "text/event-stream")
    exchange.body(1.0, piece(content=" word") * 1000 + DONE)
    assert (len(exchange.texts), exchange.fault) == (1000, None)
