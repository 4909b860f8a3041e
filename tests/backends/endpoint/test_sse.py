"""Server-sent events, split anywhere, in every form that the standard allows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from response_bytes import split

from llmbench.backends.endpoint.limits import EVENT_BYTES, Refused
from llmbench.backends.endpoint.sse import EventReader

ENDS = [b"\n", b"\r", b"\r\n"]
DATA = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1).map(str.encode)


def read(*parts: bytes) -> list[bytes]:
    reader = EventReader()
    return [event for part in parts for event in reader.feed(part)]


@pytest.mark.parametrize("end", ENDS)
def test_every_kind_of_line_end_ends_a_line(end: bytes) -> None:
    assert read(b"data: one" + end + end + b"data: two" + end + end) == [b"one", b"two"]


@given(
    events=st.lists(DATA, max_size=5),
    end=st.sampled_from(ENDS),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_splits_between_bytes_change_nothing(
    events: list[bytes], end: bytes, cuts: list[int]
) -> None:
    stream = b"".join(b"data: " + event + end + end for event in events)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert read(*(stream[a:b] for a, b in pairwise(bounds))) == events


def test_one_space_after_the_colon_is_removed() -> None:
    assert read(b"data:a\n\ndata: b\n\ndata:  c\n\n") == [b"a", b"b", b" c"]


def test_data_lines_of_one_event_are_joined_by_line_feeds() -> None:
    assert read(b"data: one\ndata: two\n\n") == [b"one\ntwo"]


def test_comments_and_other_fields_are_ignored() -> None:
    assert read(b": ping\n\nevent: x\nid: 1\nretry: 5\nwhat\ndata: a\n\n") == [b"a"]


def test_an_event_without_data_is_ignored() -> None:
    assert read(b"event: x\n\n\n\n") == []


def test_a_field_without_a_colon_has_an_empty_value() -> None:
    assert read(b"data\n\n") == [b""]


def test_a_byte_order_mark_is_ignored_even_when_split() -> None:
    assert read(b"\xef", b"\xbb", b"\xbfdata: a\n\n") == [b"a"]


def test_a_byte_order_mark_later_on_is_data() -> None:
    assert read(b"data: a\n\n", b"data: \xef\xbb\xbfb\n\n") == [b"a", b"\xef\xbb\xbfb"]


def test_an_event_without_its_empty_line_is_incomplete() -> None:
    assert read(b"data: a\n\ndata: [DONE]\n") == [b"a"]


def test_the_size_of_an_incomplete_event_is_known() -> None:
    reader = EventReader()
    reader.feed(b"data: 12345\nda")
    assert reader.buffered == 7


PIECES = [b"\n", b"\r", b"\r\n", b"data", b"data:", b"data: ", b"\xef\xbb\xbf", b": ", b"a", b"{}"]


@given(
    pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=20),
    cuts=st.lists(st.integers(0, 90), max_size=9),
)
def test_splits_of_any_bytes_change_nothing(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    assert read(*split(data, cuts)) == read(data)


@pytest.mark.parametrize("line", [b"a" * 64, b"data: a\n", b"data\n", b"data:\n"])
def test_an_event_that_does_not_end_is_refused(line: bytes) -> None:
    reader = EventReader()
    while reader.buffered <= EVENT_BYTES - 1100 * len(line):
        assert reader.feed(line * 1100) == []
    with pytest.raises(Refused, match="an event has more than 1,048,576 bytes"):
        reader.feed(line * 10_000)


def test_lines_that_are_ignored_are_not_kept() -> None:
    reader = EventReader()
    reader.feed(b": ping\nevent: a\n\n" * 99_999)
    assert reader.buffered == 0
