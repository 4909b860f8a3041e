"""Chunks that differ only in their text: read without parsing, with the same result."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from response_bytes import split

from llmbench.backends.endpoint.chunk_template import ChunkTemplate
from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.openai_types import read_chunk
from llmbench.runs.request import Request

DONE = b"data: [DONE]\n\n"
TEXTS = st.text(max_size=6) | st.sampled_from(
    [" word", '"', "\\", "\n", "é", "\x7f", "any other text"]
)


class Untaught(ChunkTemplate):
    """A template that leaves everything to the parser."""

    def parsed(self, *_: Any) -> None:
        pass


def event(text: str, *, end: bytes = b"\n\n", escaped: bool = True, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {"id": "one", "choices": [choice], **more}
    return b"data: " + json.dumps(body, ensure_ascii=escaped).encode() + end


def streamed(parts: list[bytes], template: ChunkTemplate | None = None) -> Exchange:
    """Return an exchange whose parts were read at 1 s, 2 s, 3 s..."""
    exchange = Exchange(Request(0, (1,), 100), due=0.0)
    exchange._template = template or ChunkTemplate()
    exchange.begin(200, "text/event-stream")
    for moment, part in enumerate(parts, start=1):
        exchange.body(float(moment), part)
    exchange.end(99.0)
    return exchange


def decoded(monkeypatch: pytest.MonkeyPatch, parts: list[bytes]) -> tuple[list[str], int]:
    """Return the texts of a stream and how many of its events were parsed as JSON."""
    parsed: list[bytes] = []

    def counted(data: bytes) -> Any:
        parsed.append(data)
        return read_chunk(data)

    monkeypatch.setattr("llmbench.backends.endpoint.exchange.read_chunk", counted)
    return streamed(parts).texts, len(parsed)


EVENTS = st.builds(
    event,
    TEXTS,
    escaped=st.booleans(),
    end=st.sampled_from([b"\n\n", b"\r\n\r\n"]),
    created=st.integers(0, 1),
) | st.sampled_from(
    [
        b": ping\n\n", b"event: x\ndata: {}\n\n", b'data: {"choices": []}\n\n', b"\n",
        b"data: \xff\n\n",
        event("a", usage={"completion_tokens": 3}),
        event("a", choices=[{"delta": {"reasoning": "hm"}}]),
        event("a", choices=[{"delta": {"content": "a"}, "finish_reason": "stop"}]),
        event("a", choices=[{"delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]),
        event("a", choices=[{"delta": {"tool_calls": "a"}}]),
        event("a", error="out of memory"),
        b'data: {"choices": [{"delta": {"content": "b", "content": "a"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "a", "content": "b"}}]}\n\n',
    ]
)  # fmt: skip


@given(events=st.lists(EVENTS, max_size=30), cuts=st.lists(st.integers(0, 4000), max_size=9))
def test_a_stream_is_read_as_if_each_chunk_was_parsed(events: list[bytes], cuts: list[int]) -> None:
    parts = split(b"".join([event("a"), *events, DONE]), sorted(set(cuts)))
    read, parsed = streamed(parts), streamed(parts, Untaught())
    assert (read.stamps, read.texts, read.fault) == (parsed.stamps, parsed.texts, parsed.fault)
    assert read.first_content == parsed.first_content
    assert read.text_length == parsed.text_length


def test_only_the_first_of_equal_chunks_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f" word{number}" for number in range(50)]
    assert decoded(monkeypatch, [*map(event, texts), DONE]) == (texts, 1)


def test_chunks_that_are_read_at_once_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f" word{number}" for number in range(50)]
    assert decoded(monkeypatch, [b"".join(map(event, texts)) + DONE]) == (texts, 1)


def test_chunks_cut_anywhere_are_read_between_the_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f" word{number}" for number in range(50)]
    data = b"".join(map(event, texts)) + DONE
    assert decoded(monkeypatch, split(data, [1000, 2000, 3000])) == (texts, 4)


def test_an_escaped_text_is_parsed_and_the_next_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a", "b", "\n", "c", "\n", "d"]
    assert decoded(monkeypatch, [*map(event, texts), DONE]) == (texts, 3)
    assert decoded(monkeypatch, [b"".join(map(event, texts)), DONE]) == (texts, 3)


def test_a_changed_field_is_learned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [event("a", created=number // 20) for number in range(60)]
    assert decoded(monkeypatch, [*parts, DONE])[1] == 3


def test_reasoning_stays_reasoning() -> None:
    def thought(text: str) -> bytes:
        return event("", choices=[{"delta": {"reasoning": text}}])

    exchange = streamed([thought("a"), thought("b"), thought("c"), event("d"), event("e"), DONE])
    assert (exchange.texts, exchange.first_content) == (["a", "b", "c", "d", "e"], 4.0)


def test_little_is_tried_where_chunks_always_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bytes] = []
    monkeypatch.setattr("llmbench.backends.endpoint.chunk_template._around_text", tried.append)
    streamed([event("a", created=number) for number in range(50)])
    assert len(tried) == 3


def test_events_without_text_cannot_exhaust_the_stack() -> None:
    exchange = streamed([b"data: {}\n\n" * 20_000 + event("a") + event("b"), DONE])
    assert exchange.texts == ["a", "b"]
