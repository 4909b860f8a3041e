"""Bodies of responses, read by what they are."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from response_bytes import split

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.body import Body, ErrorBody, JsonReader, compression_of, words
from llmbench.backends.endpoint.limits import Refused

CHUNK = b'{"choices": [{"delta": {"content": "a"}}]}'
WHOLE = b'{"choices": [{"message": {"content": "a"}}]}'


def read(*parts: bytes, content_type: str = "", encoding: str = "", streamed: bool = True) -> Body:
    """Return a body after these parts and its end."""
    body = Body(content_type, encoding, streamed=streamed)
    for part in parts:
        body.feed(part)
    body.end()
    return body


def events(*parts: bytes) -> list[bytes]:
    body = Body("", "", streamed=True)
    complete = [event for part in parts for event in body.feed(part)]
    return [*complete, *body.end()]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: %b\n\ndata: %b\n\n" % (CHUNK, CHUNK),
        b"\xef\xbb\xbfdata: %b\n\ndata: %b\n\n" % (CHUNK, CHUNK),
        b"\r\n\n: ping\n\nevent: a\ndata:%b\r\n\r\ndata: %b\r\n\r\n" % (CHUNK, CHUNK),
        b"%b\n%b\n" % (CHUNK, CHUNK),
        b"%b\r\n\r\n%b" % (CHUNK, CHUNK),
        b"\xef\xbb\xbf%b\n%b" % (CHUNK, CHUNK),
        b"\x1e%b\n\x1e%b\n" % (CHUNK, CHUNK),
    ],
)
def test_a_stream_is_recognized_by_its_first_bytes_however_they_are_split(stream: bytes) -> None:
    singles = [stream[index : index + 1] for index in range(len(stream))]
    assert events(stream) == events(*singles) == [CHUNK, CHUNK]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_json_lines_may_begin_with_null(end: bytes) -> None:
    stream = end.join([b"null", CHUNK, CHUNK])
    singles = [stream[index : index + 1] for index in range(len(stream))]
    assert events(stream) == events(*singles) == [b"null", CHUNK, CHUNK]


def test_null_alone_is_not_a_stream() -> None:
    with pytest.raises(Refused, match="null"):
        read(b"null\n")


@given(
    lines=st.lists(st.dictionaries(st.text(), st.text(), max_size=2), min_size=2, max_size=5),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    cuts=st.lists(st.integers(0, 300), max_size=9),
)
def test_splits_of_json_lines_change_nothing(
    lines: list[dict[str, str]], end: bytes, cuts: list[int]
) -> None:
    documents = [json.dumps({"delta": line}).encode() for line in lines]
    assert events(*split(end.join(documents), cuts)) == documents


@pytest.mark.parametrize(
    "document", [WHOLE, WHOLE + b"\n", json.dumps({"a": [1]}, indent=1).encode()]
)
def test_a_single_document_is_no_stream(document: bytes) -> None:
    assert read(document).document == document.strip()


def test_a_single_chunk_is_a_stream() -> None:
    assert read(CHUNK + b"\n").document is None


def test_an_unstreamed_body_is_a_document_whatever_its_lines() -> None:
    body = read(b"%b\n%b\n" % (CHUNK, CHUNK), streamed=False)
    assert body.document == b"%b\n%b" % (CHUNK, CHUNK)


@pytest.mark.parametrize(
    ("data", "streamed", "kind", "message"),
    [
        (
            b"<html><title>Sign in</title>",
            True,
            "invalid-response",
            r"HTML or XML \(x/y\).*Sign in",
        ),
        (b"data: {}\n\n", False, "invalid-response", "set `stream: true`"),
        (b"no healthy\n  upstream", True, "server-error", "^no healthy upstream$"),
        (b"no healthy upstream", False, "server-error", "^no healthy upstream$"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", True, "invalid-response", r"begins with b'.x00"),
        (b"", False, "invalid-response", "no body"),
        (gzip.compress(b"a", mtime=0), True, "invalid-response", "compressed answers are not read"),
    ],
)
def test_a_body_that_is_not_what_was_requested_is_refused_with_the_reason(
    data: bytes,
    streamed: bool,  # noqa: FBT001 (a parameter of the test)
    kind: str,
    message: str,
) -> None:
    with pytest.raises(Refused, match=message) as refused:
        read(data, content_type="x/y", streamed=streamed)
    assert refused.value.kind == kind


def test_a_plain_text_is_whole_in_the_reason_however_it_was_split() -> None:
    text = b"upstream connect error or disconnect before headers"
    singles = [text[index : index + 1] for index in range(len(text))]
    with pytest.raises(Refused, match=text.decode()):
        read(*singles)


@pytest.mark.parametrize("start", [b"", b"d", b"data", b"data:", b"data: {", b": ping", b"\n\n"])
def test_a_stream_that_is_cut_anywhere_is_not_refused(start: bytes) -> None:
    assert events(start) == []


@pytest.mark.parametrize(
    ("start", "encoding", "name"),
    [
        (b"\x1f\x8b\x08", "", "gzip"),
        (b"\x28\xb5\x2f\xfd", "", "zstd"),
        (b"\x1b\x57\x00", "br", "br"),
        (b"\x1b\x57\x00", "", None),
        (b"data: {", "gzip", None),
        (b'{"id": 1', "br, gzip", None),
        (b"\x1b", "identity, br", "br"),
        (b"plain", "utf-8", None),
    ],
)
def test_compression_is_known_by_first_bytes_or_the_header(
    start: bytes, encoding: str, name: str | None
) -> None:
    assert compression_of(start, encoding) == name


def test_a_long_line_and_a_long_document_are_refused() -> None:
    lines = JsonReader()
    assert lines.feed(b"{}\n") == [b"{}"]
    with pytest.raises(Refused, match="a line has more than"):
        lines.feed(b"a" * limits.EVENT_BYTES + b"a")
    document = JsonReader()
    with pytest.raises(Refused, match="the JSON document has more than"):
        document.feed(b"{" * (limits.DOCUMENT_BYTES + 1))


def test_only_the_beginning_of_an_error_is_kept() -> None:
    body = ErrorBody("")
    for _ in range(3):
        body.feed(b"x" * limits.ERROR_BODY_BYTES)
    assert len(body.text) == body.buffered == limits.ERROR_BODY_BYTES


def test_a_compressed_error_is_named_and_not_shown() -> None:
    body = ErrorBody("gzip")
    body.feed(gzip.compress(b"secret"))
    assert body.text == b"(a compressed text, gzip, which is not read)"


def test_words_are_those_that_a_reader_of_the_page_sees() -> None:
    assert words(b"<html>\n<h1>Bad\r\nGateway</h1>") == "Bad Gateway"
