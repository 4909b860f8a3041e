"""Tool calls of streams, whatever form their parts have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.tool_calls import MAX_CALLS, assembled
from llmbench.quality.validity import ToolCall
from llmbench.runs.request import Request


def part(index: int | None, arguments: Any = None, name: str | None = None, **more: Any) -> Any:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "function": function, **more}


def of(*chunks: list[Any]) -> list[ToolCall] | None:
    return assembled(map(json.dumps, chunks))


def test_the_parts_of_a_call_are_joined_by_index() -> None:
    assert of(
        [part(0, "", "weather", id="a")],
        [part(0, '{"ci')],
        [part(1, "", "clock", id="b"), part(0, 'ty": 1}')],
        [part(1, "{}")],
    ) == [ToolCall("weather", '{"city": 1}'), ToolCall("clock", "{}")]


def test_a_repeated_name_is_not_joined() -> None:
    assert of([part(0, "{", "clock")], [part(0, "}", "clock")]) == [ToolCall("clock", "{}")]


def test_calls_with_ids_of_their_own_are_separate_at_the_same_index() -> None:
    assert of([part(0, "{}", "a", id="1")], [part(0, "{}", "b", id="2")]) == [
        ToolCall("a", "{}"),
        ToolCall("b", "{}"),
    ]


def test_complete_calls_need_no_index() -> None:
    calls = [part(None, "{}", "a"), part(None, "{}", "b")]
    assert of(calls) == [ToolCall("a", "{}"), ToolCall("b", "{}")]


def test_arguments_may_be_an_object() -> None:
    assert of([part(0, {"city": "Oslo"}, "weather")]) == [ToolCall("weather", '{"city":"Oslo"}')]


@pytest.mark.parametrize("chunk", ['{"index": 0}', "[1]", "[", '"a"', '[{"index": "0"}]'])
def test_malformed_calls_are_none(chunk: str) -> None:
    assert assembled([chunk]) is None


def test_too_many_calls_are_none() -> None:
    assert of([part(number, "{}", "a") for number in range(MAX_CALLS + 1)]) is None


def test_nothing_is_no_call() -> None:
    assert assembled([]) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text()), min_size=1, max_size=5), st.randoms())
def test_calls_are_the_same_however_they_were_cut(calls: list[tuple[str, str]], rng: Any) -> None:
    parts = []
    for index, (name, arguments) in enumerate(calls):
        cut = rng.randint(0, len(arguments))
        parts += [part(index, "", name), part(index, arguments[:cut]), part(index, arguments[cut:])]
    assert of(*([one] for one in parts)) == [ToolCall(*call) for call in calls]


# -- in a response ---------------------------------------------------------------------------------


def response(*deltas: dict[str, Any]) -> Exchange:
    exchange = Exchange(Request(0, (1,), 8), due=0.0)
    exchange.begin(200, "text/event-stream")
    for moment, delta in enumerate(deltas, start=1):
        event = b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"
        exchange.body(float(moment), event)
    exchange.body(99.0, b"data: [DONE]\n\n")
    return exchange


def test_a_response_keeps_its_calls_apart_from_its_text() -> None:
    exchange = response(
        {"reasoning": "hm"},
        {"content": "Let me "},
        {"content": "see", "tool_calls": [part(0, "{", "clock")]},
        {"tool_calls": [part(0, "}")]},
    )
    assert (exchange.content, exchange.written) == ("Let me see", "hmLet me see")
    assert assembled(text for _, text in exchange.calls) == [ToolCall("clock", "{}")]
    assert exchange.stamps == [1.0, 2.0, 3.0, 4.0]


def test_a_response_of_calls_alone_has_no_text() -> None:
    exchange = response({"tool_calls": [part(0, "{}", "clock")]})
    assert (exchange.content, exchange.written, len(exchange.texts)) == ("", "", 1)


def test_calls_in_chunks_with_text_count_towards_the_limit_of_the_text() -> None:
    exchange = Exchange(Request(0, (1,), 8), due=0.0, max_text_length=100)
    exchange.begin(200, "text/event-stream")
    delta = {"content": "a", "tool_calls": [part(0, "x" * 100, "clock")]}
    exchange.body(1.0, b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n")
    assert exchange.fault is not None
    assert exchange.fault.kind == "too-large"
