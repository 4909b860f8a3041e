"""Requests and chunks of OpenAI's API, and whatever servers send in place of chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmbench.backends.endpoint.answer_log import AnswerLog, LoggedAnswers
from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.odd_events import standardized
from llmbench.backends.endpoint.openai_types import Envelope, Payload, read_chunk
from llmbench.runs.request import Constraint, Request

KINDS = {None, "invalid-chunk", "server-error"}
NAMES = (
    "choices", "delta", "message", "content", "text", "index", "finish_reason", "usage", "error",
    "completion_tokens", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "timings",
    "cache_n", "refusal", "reasoning", "tool_calls", "detail", "type", "thinking",
)  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
choices = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "index": scalars,
            "delta": st.none() | st.dictionaries(st.sampled_from(NAMES), values, max_size=3),
            "text": values,
            "finish_reason": values,
        },
    ),
    max_size=2,
)
chunks = st.fixed_dictionaries({}, optional={"choices": choices, "usage": values, "error": values})


def texts(content: Any) -> str:
    (choice,) = read_chunk(json.dumps({"choices": [{"delta": content}]}).encode()).choices or [None]
    assert choice
    return choice.content or choice.tool_calls


def sent(request: Request, length_field: str | None) -> dict[str, Any]:
    payload = Payload(Envelope((b"",), {"model": "m"}), chat=False, length_field=length_field)
    body: dict[str, Any] = json.loads(payload(request).partition(b"\r\n\r\n")[2])
    return body


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
def test_the_length_field_of_a_request_has_the_given_name(name: str) -> None:
    body = sent(Request(0, (1,), 7, text="a"), name)
    assert body == {"model": "m", "prompt": "a", name: 7}


def test_a_constraint_adds_its_fields_to_those_of_all_requests() -> None:
    payload = Payload(Envelope((b"",), {"model": "m", "tool_choice": "none"}), chat=False)
    constraint = Constraint("tools", {"tools": [1], "tool_choice": "auto"})
    data = payload(Request(0, (1,), 7, text="a", constraint=constraint))
    body = json.loads(data.partition(b"\r\n\r\n")[2])
    assert (body["model"], body["tools"], body["tool_choice"]) == ("m", [1], "auto")
    assert body["max_tokens"] == 7


def test_the_length_can_be_left_out() -> None:
    assert sent(Request(0, (1,), 7, text="a"), None) == {"model": "m", "prompt": "a"}


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"content": "a"}, "a"),
        ({"content": None}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": ["a", "b"]}, "ab"),
        ({"content": {"type": "text", "text": "a"}}, "a"),
        ({"content": [{"type": "output_text", "text": {"value": "a"}}]}, "a"),
        ({"content": [{"type": "reference", "reference_ids": [1]}]}, ""),
        ({"content": 5}, "5"),
        ({"content": False}, ""),
        ({"content": "", "refusal": "no"}, "no"),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, "no"),
        ({"content": None, "tool_calls": [{"index": 0}]}, '[{"index": 0}]'),
        ({"content": None, "tool_calls": None}, ""),
        ({"content": None, "tool_calls": []}, ""),
    ],
)
def test_the_text_of_a_chunk_is_read_in_every_form(delta: Any, text: str) -> None:
    assert texts(delta) == text


def test_thinking_parts_are_reasoning_and_not_content() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    data = json.dumps({"choices": [{"delta": {"content": [part]}}]}).encode()
    (choice,) = read_chunk(data).choices or [None]
    assert choice
    assert (choice.content, choice.reasoning) == ("", "hm")


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": "none"}',
        b'{"choices": [{"delta": "text"}]}',
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        pytest.param(b"[" * 100_000, id="deep lists"),
        pytest.param(b'{"a":' * 100_000, id="deep objects"),
    ],
)
def test_what_is_not_a_chunk_is_a_value_error_with_an_excerpt(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+") as raised:
        read_chunk(data)
    assert len(str(raised.value)) < 300


def test_the_excerpt_of_an_invalid_chunk_is_redacted_before_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    broken = b'{"choices": [{"delta": {"content": "' + b"x" * 30 + b"sk-canary-0123456789"
    with pytest.raises(ValueError, match=r"xxx\*\*\*"):
        read_chunk(broken)


@given(chunks | values)
@example({"choices": [{"delta": {"tool_calls": [10**5000]}}]})
@example({"choices": [{"delta": {"content": 10**5000}}]})
@example({"usage": {"completion_tokens": 10**400}})
@example({"error": {"message": "\ud800"}})
@example({"error": [[[[[[[["deep"]]]]]]]]})
@example({"choices": [None, {"index": 1, "text": "b"}]})
@example({"choices": [{"index": "0", "text": "a", "finish_reason": {"type": "stop"}}]})
def test_any_json_in_a_stream_is_an_answer_or_an_error_and_can_be_logged(value: Any) -> None:
    exchange = Exchange(Request(0, (1,), 4, text="a"), due=0.0, streamed=True)
    exchange.begin(200, "text/event-stream")
    exchange.body(1.0, b"data: " + _written(value) + b"\n\ndata: [DONE]\n\n")
    exchange.end(2.0)
    assert (exchange.fault.kind if exchange.fault else None) in KINDS
    assert exchange.outcome.tokens <= max(4, len(exchange.texts))
    log = AnswerLog()
    log.add(exchange)
    (answer,) = LoggedAnswers([log], [exchange.request])
    assert answer.texts == exchange.texts


@given(chunks.filter(lambda chunk: "tool_calls" not in repr(chunk)))
def test_the_standard_form_of_a_chunk_reads_as_the_chunk_itself(value: Any) -> None:
    data = _written(value)
    try:
        chunk = read_chunk(data)
    except ValueError:
        return
    assert _content(read_chunk(standardized(data)).choices) == _content(chunk.choices)


def _written(value: Any) -> bytes:
    """Return a value as JSON with integers of any length, as other languages write them."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**64:
        return b"-"[: value < 0] + b"9" * (value.bit_length() // 3)
    if isinstance(value, list):
        return b"[" + b",".join(map(_written, value)) + b"]"
    if isinstance(value, dict):
        members = (json.dumps(name).encode() + b":" + _written(value[name]) for name in value)
        return b"{" + b",".join(members) + b"}"
    return json.dumps(value).encode()


def _content(choices: Any) -> list[str]:
    return [choice.content for choice in choices or () if choice]
