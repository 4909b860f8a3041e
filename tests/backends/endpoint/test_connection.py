"""HTTP responses of any bytes, split anywhere."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from response_bytes import fuzz_response, outcome, received, split

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.conformance.behaviors import COMPLETE, EVENTS
from llmbench.backends.endpoint.conformance.wire import STREAM, chunked, completion, plain

STREAMED = b"".join(COMPLETE)
LINES = b"".join(part[6:-1] for part in EVENTS)
CHUNKED = b"".join(part for part in chunked(COMPLETE) if isinstance(part, bytes))
RESPONSES = [
    CHUNKED,
    plain("200 OK", STREAM, STREAMED),
    plain("200 OK", "application/x-ndjson", LINES),
    plain("200 OK", "application/json", completion()),
    plain("200 OK", "text/html", b"<html><title>Sign in</title></html>"),
    plain("200 OK", "text/plain", b"no healthy upstream"),
    plain("500 Error", "application/json", b'{"error": {"message": "out of memory"}}'),
    b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED,
    b"HTTP/1.0 200 OK\r\n\r\n" + STREAMED,
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\x1f\x8b", b"0\r\n\r\n", b"data: [DONE]\n\n", b"<",
    b"{", b":", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a response in which up to four places are replaced or repeated."""
    response = draw(st.sampled_from(RESPONSES))
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(response)))
        length = draw(st.integers(0, 40))
        piece = draw(st.sampled_from([*PIECES, b"", response[begin : begin + length]]))
        response = response[:begin] + piece + response[begin + length // 2 :]
    return response


@given(response=mutated(), cuts=st.lists(st.integers(0, 3000), max_size=9))
def test_splits_between_reads_change_nothing(response: bytes, cuts: list[int]) -> None:
    assert outcome(received(split(response, cuts))) == outcome(received([response]))


@pytest.mark.parametrize("response", RESPONSES)
def test_a_response_in_single_bytes_is_the_same(response: bytes) -> None:
    singles = [response[index : index + 1] for index in range(len(response))]
    assert outcome(received(singles)) == outcome(received([response]))


@given(data=st.binary(max_size=200) | mutated())
@example(b"HTTP/1.1 200 OK\r\n: a\r\n\r\n")
def test_any_bytes_have_one_valid_outcome(data: bytes) -> None:
    fuzz_response(data)


@given(body=st.binary(max_size=60))
def test_any_body_has_one_valid_outcome(body: bytes) -> None:
    fuzz_response(plain("200 OK", "text/plain", body))


def test_an_exception_in_llmbench_fails_only_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: bytes) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("llmbench.backends.endpoint.exchange.read_chunk", broken)
    fault = received([CHUNKED]).fault
    assert fault is not None
    assert fault.kind == "client-error"
    assert "ZeroDivisionError: by zero" in fault.message


def test_an_interrupt_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llmbench.backends.endpoint.exchange.read_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        received([CHUNKED])


@pytest.mark.parametrize("count", [limits.HEADERS - 3, limits.HEADERS])
def test_headers_are_counted(count: int) -> None:
    headers = b"".join(b"X-%d: a\r\n" % number for number in range(count))
    response = plain("200 OK", STREAM, STREAMED).replace(b"\r\n", b"\r\n" + headers, 1)
    kind, *_ = outcome(received([response]))
    assert kind == ("too-large" if count == limits.HEADERS else None)


@pytest.mark.parametrize(("blocks", "kind"), [(31, "truncated"), (32, "too-large")])
def test_the_bytes_of_a_response_are_counted(blocks: int, kind: str) -> None:
    comments = b":%b\n" % (b"x" * 1022) * 1024
    fault = received([b"HTTP/1.1 200 OK\r\n\r\n", *[comments] * blocks]).fault
    assert fault is not None
    assert fault.kind == kind
