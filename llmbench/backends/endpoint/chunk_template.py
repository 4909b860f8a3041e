"""The chunks of a stream that differ only in their text, read without parsing each as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from llmbench.backends.endpoint.openai_types import read_chunk

LEAD = b"data: "
ENDS = (b"\n\n", b"\r\n\r\n")
PROBE = "any other text"
TRIES = 3  # to learn a template, and one more for each READ_PER_TRY texts that were read by one
READ_PER_TRY = 8
MARKER_LENGTH = 16  # of the end of what is between two texts, which is longer
SINGLE_EVENTS = 4  # at the beginning of a stream, which are cut off to learn a template from


class ChunkTemplate:
    """The bytes before and after the text of a stream's last chunk, by which the next are read.

    Bytes that are the same around a JSON string without quotes, escapes and control characters
    are the same chunk with another text. Everything else is left to the parser. ``is_content``:
    the text is not reasoning.
    """

    __slots__ = (
        "_after", "_before", "_between", "_is_usable", "_parsed_texts", "_single_events", "_tries",
        "is_content",
    )  # fmt: skip

    def __init__(self) -> None:
        self.is_content = True
        self._before = self._after = b""
        self._between = ""
        self._is_usable = False  # the previous bytes ended with the end of an event
        self._tries = TRIES
        self._single_events = SINGLE_EVENTS
        self._parsed_texts = 0

    def texts(self, data: bytes) -> Sequence[str]:
        """Return the texts of the chunks in some bytes, or nothing if these must be parsed."""
        if not self._is_usable:
            return ()
        before, after = self._before, self._after
        inner = data.removeprefix(before).removesuffix(after)
        if len(before) + len(inner) + len(after) != len(data):
            return ()
        try:
            text = inner.decode()
        except UnicodeDecodeError:
            return ()
        if text.isprintable() and '"' not in text and "\\" not in text:
            return (text,) if text else ()
        return self._several(text)

    def _several(self, inner: str) -> Sequence[str]:
        """Return the texts of several chunks, from the first text to the last."""
        # a short separator is found several times faster than all that is between two texts
        *pieces, last = inner.split(self._between[-MARKER_LENGTH:])
        rest = MARKER_LENGTH - len(self._between)
        texts = [*(piece[:rest] for piece in pieces), last]
        is_like = self._between.join(texts) == inner and all(texts)
        return texts if is_like and _is_plain("".join(texts)) else ()

    def cut(self, data: bytes) -> Sequence[bytes]:
        """Return bytes in parts, of which some may be read by the template."""
        before, after = self._before, self._after
        if not before:
            return self._first_event(data)
        if len(data) < 2 * len(self._between):
            return (data,)
        begin, end = data.find(before), data.rfind(after) + len(after)
        if not 0 <= begin < end:
            return (data,)
        if begin or end < len(data):
            return [part for part in (data[:begin], data[begin:end], data[end:]) if part]
        pieces = data[len(before) : -len(after)].split(after + before)
        return [before + piece + after for piece in pieces]

    def _first_event(self, data: bytes) -> Sequence[bytes]:
        """Return the bytes of an event and those after it."""
        end = data.find(ENDS[0]) + len(ENDS[0])
        if len(ENDS[0]) <= end < len(data) and self._single_events:
            self._single_events -= 1
            return data[:end], data[end:]
        return (data,)

    def parsed(self, data: bytes, event: bytes, texts: int, total: int) -> None:
        """Learn from bytes that were parsed and end with an event.

        They have that number of texts, and the stream has had ``total``. Where chunks always
        differ, it is tried only a few times.
        """
        self._parsed_texts += texts
        self._is_usable = bool(self._before)
        is_like = self._before in data and data.endswith(self._after)
        read = total - self._parsed_texts
        if not texts or (self._is_usable and is_like) or self._tries + read // READ_PER_TRY <= 0:
            return
        self._tries -= 1
        end = next((end for end in ENDS if data.endswith(event + end)), None)
        if end and (around := _around_text(event)):
            before, after, self.is_content = around
            self._before, self._after = LEAD + before, after + end
            self._between = (self._after + self._before).decode()
            self._is_usable = True

    def suspend(self) -> None:
        """Leave the next bytes to the parser, because an event is incomplete."""
        self._is_usable = False


def _around_text(event: bytes) -> tuple[bytes, bytes, bool] | None:
    """Return the bytes before and after the text of a chunk, and whether it is content.

    The chunk is read again with another text in that place.
    """
    text, is_content = _only_text(event)
    if not _is_plain(text) or text == PROBE:
        return None
    before, quoted, after = event.rpartition(b'"%b"' % text.encode())
    before, after = before + b'"', b'"' + after
    is_found = quoted and (before + after).isascii()
    if not is_found or _only_text(before + PROBE.encode() + after) != (PROBE, is_content):
        return None
    return before, after, is_content


def _only_text(event: bytes) -> tuple[str, bool]:
    """Return the text of a chunk that has only text, else none; and whether it is content."""
    try:
        chunk = read_chunk(event)
    except ValueError:
        return "", False
    choice = chunk.choices[0] if chunk.choices and len(chunk.choices) == 1 else None
    is_odd = chunk.usage or chunk.timings or chunk.metrics or chunk.error
    if choice is None or is_odd or choice.index or choice.finish_reason or choice.tool_calls:
        return "", False
    content = choice.content
    return content or choice.reasoning, bool(content)


def _is_plain(text: str) -> bool:
    """Return whether a JSON string is its own text."""
    return text.isprintable() and '"' not in text and "\\" not in text and text != ""
