"""The body of a response, read by what it is: by its first bytes, not by its Content-Type."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence

import msgspec

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.limits import Refused
from llmbench.backends.endpoint.sse import BOM, EventReader

ENOUGH_BYTES = 8  # to tell the formats apart; no event with text is shorter
LEADING_BYTES = 1024  # of blanks, after which a body is text
EXCERPT_BYTES = 4096
EXCERPT_LENGTH = 300
TYPE_LENGTH = 100
SHOWN_BYTES = 16

ENCODINGS = {"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"}
MAGIC = {
    b"\x1f\x8b": "gzip", b"\x1f\x9d": "compress", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2",
    b"\x78\x01": "deflate", b"\x78\x9c": "deflate", b"\x78\xda": "deflate", b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}  # fmt: skip
COMPRESSED = tuple(MAGIC)
PLAIN = re.compile(rb'data:|event:|id:|retry:|: |[\[{][\s"{]')
FIELD = re.compile(rb"(?:^|[\r\n])(?:(?:data|event|id|retry)?:|data[\r\n])")
NULL_LINE = re.compile(rb"null[ \t]*\r?\n[{]")  # a keep-alive before the first document
WHOLE = re.compile(rb'"message"\s*:\s*\{')
TAG = re.compile(r"<[^>]*>")
BLANKS = b" \t\r\n\x1e"  # RFC 7464 begins JSON documents with 1E


class Body:
    """The body of a response with status 200: a stream, or a JSON document.

    ``feed`` parses the next bytes and returns the events that they complete. It raises Refused for
    a body that is not the requested response, or beyond a limit.
    """

    __slots__ = (
        "_encoding", "_has_events", "_head", "_reader", "_streamed", "content_type", "feed",
    )  # fmt: skip

    def __init__(self, content_type: str, encoding: str, *, streamed: bool) -> None:
        self.content_type = content_type[:TYPE_LENGTH] or "no Content-Type"
        self.feed: Callable[[bytes], Sequence[bytes]] = self._recognize
        self._encoding = encoding
        self._streamed = streamed
        self._head = b""
        self._has_events = False
        self._reader: EventReader | JsonReader | None = None

    @property
    def buffered(self) -> int:
        """The number of bytes that are kept until an event or the document is complete."""
        return self._reader.buffered if self._reader else len(self._head)

    @property
    def document(self) -> bytes | None:
        """The JSON document that the whole body is, or None if it is a stream."""
        return self._reader.document if isinstance(self._reader, JsonReader) else None

    @property
    def is_ndjson(self) -> bool:
        """Whether the body is a stream with a JSON document per line."""
        return isinstance(self._reader, JsonReader)

    @property
    def is_between_events(self) -> bool:
        """Whether the body is a stream of events of which the last is complete."""
        return self._has_events and self._reader is not None and self._reader.is_between_events

    def end(self) -> Sequence[bytes]:
        """Return the events that the end of the body completes; raise as ``feed`` does."""
        events = () if self._reader else self._begin()
        if isinstance(self._reader, JsonReader):
            return [*events, *self._reader.end()]
        start = self._head.removeprefix(BOM).strip(BLANKS)
        is_stream = self._has_events or not start or _has_field(start)
        if not (is_stream and self._streamed):
            raise _refused_text(start, self.content_type)
        return events

    def _recognize(self, received: bytes) -> Sequence[bytes]:
        self._head += received
        is_enough = len(self._start) == ENOUGH_BYTES or len(self._head) >= LEADING_BYTES
        return self._begin() if is_enough else ()

    @property
    def _start(self) -> bytes:
        """The first bytes that are not blank, which do not depend on how the body was split."""
        return self._head[:LEADING_BYTES].removeprefix(BOM).lstrip(BLANKS)[:ENOUGH_BYTES]

    def _begin(self) -> Sequence[bytes]:
        """Choose the reader of the body by its first bytes, and parse them."""
        head, start = self._head, self._start
        if compression := compression_of(start, self._encoding):
            raise Refused(
                "invalid-response",
                f"the response is compressed ({compression}); compressed answers are not read: "
                "turn off compression on the server, or on the proxy in front of it",
            )
        if start.startswith(b"<"):
            wanted = "a stream" if self._streamed else "JSON"
            raise Refused(
                "invalid-response",
                f"the response is HTML or XML ({self.content_type}), not {wanted}: {words(head)}; "
                "correct the `url`",
            )
        if FIELD.match(start) and not self._streamed:
            raise Refused(
                "invalid-response",
                f"the response is a stream ({self.content_type}); set `stream: true`",
            )
        if start.startswith((b"{", b"[")) or (self._streamed and NULL_LINE.match(start)):
            is_document = start.startswith(b"[") or not self._streamed
            self._reader = JsonReader(is_lines=False if is_document else None)
            self.feed = self._reader.feed
        else:
            self._reader = EventReader()
            self._head, self.feed = b"", self._feed_until_event
        return self.feed(head)

    def _feed_until_event(self, received: bytes) -> Sequence[bytes]:
        """Keep the beginning of a text, which may be an error, until it has an event."""
        assert self._reader  # noqa: S101 (which has been chosen)
        self._head += received[: EXCERPT_BYTES - len(self._head)]
        events = self._reader.feed(received)
        if events:
            self._has_events, self.feed = True, self._reader.feed
        return events


class ErrorBody:
    """The body of a response with an error status, of which only the beginning is kept."""

    is_between_events = False

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._kept = bytearray()

    @property
    def buffered(self) -> int:
        """The number of bytes that are kept."""
        return len(self._kept)

    @property
    def text(self) -> bytes:
        """The text of the error: JSON, or words."""
        start = bytes(self._kept).removeprefix(BOM).lstrip(BLANKS)
        if compression := compression_of(start, self._encoding):
            return f"(a compressed text, {compression}, which is not read)".encode()
        return words(start).encode() if start.startswith(b"<") else start

    def feed(self, received: bytes) -> Sequence[bytes]:
        """Keep the next bytes up to the limit; return no events."""
        self._kept += received[: limits.ERROR_BODY_BYTES - len(self._kept)]
        return ()


class JsonReader:
    """Parses a body of JSON: one document, or a stream with a document per line (NDJSON).

    ``is_lines`` is None until the first line ends. In a stream, that line is a document by itself.
    """

    is_between_events = False

    def __init__(self, *, is_lines: bool | None = None) -> None:
        self.is_lines = is_lines
        self._partial = bytearray()
        self._first = b""
        self._lines = 0

    @property
    def buffered(self) -> int:
        """The number of bytes of the document, or of the incomplete line."""
        return len(self._partial)

    @property
    def document(self) -> bytes | None:
        """The body if it is one document, or None; a single line is one if it has no delta."""
        if not self.is_lines:
            return bytes(self._partial).strip(BLANKS).removeprefix(BOM)
        return self._first if self._lines == 1 and b'"delta"' not in self._first else None

    def feed(self, received: bytes) -> list[bytes]:
        """Parse the next bytes and return the lines of a stream that they complete.

        Raises Refused if the incomplete line or the document exceeds its limit.
        """
        self._partial += received
        lines = self._complete_lines() if b"\n" in received and self.is_lines is not False else []
        limit = limits.EVENT_BYTES if self.is_lines else limits.DOCUMENT_BYTES
        if len(self._partial) > limit and not lines:
            name = "a line" if self.is_lines else "the JSON document"
            raise Refused("too-large", f"{name} has more than {limit:,} bytes")
        return lines

    def end(self) -> list[bytes]:
        """Return the last line of a stream, which may lack its line end."""
        return self.feed(b"\n") if self.is_lines else []

    def _complete_lines(self) -> list[bytes]:
        *complete, rest = bytes(self._partial).split(b"\n")
        lines = [line for raw in complete if (line := raw.strip(BLANKS))]
        if lines and self.is_lines is None:
            self._first = lines[0] = lines[0].removeprefix(BOM)
            is_short = len(self._first) <= limits.EVENT_BYTES
            self.is_lines = is_short and _is_json(self._first) and not _is_whole(self._first)
        if not self.is_lines:
            return []
        self._partial = bytearray(rest)
        self._lines += len(lines)
        return lines


def compression_of(start: bytes, encoding: str) -> str | None:
    """Return how a body is compressed, by its first bytes and its encoding, or None if it is not.

    Some servers declare an encoding without applying it.
    """
    if start.startswith(COMPRESSED):
        return next(name for magic, name in MAGIC.items() if start.startswith(magic))
    declared = [name for name in encoding.split(", ") if name in ENCODINGS]
    return ", ".join(declared) if declared and not PLAIN.match(start) else None


def words(text: bytes) -> str:
    """Return the beginning of a text without HTML tags and line ends."""
    visible = TAG.sub(" ", text[:EXCERPT_BYTES].decode(errors="replace"))
    return " ".join(visible.split())[:EXCERPT_LENGTH]


def _refused_text(start: bytes, content_type: str) -> Refused:
    """Return the reason to refuse a text, such as a proxy's error message, or binary data."""
    if not start:
        return Refused("invalid-response", "the response has no body")
    if _is_text(start):
        return Refused("server-error", words(start))
    return Refused(
        "invalid-response",
        f"the response ({content_type}) is neither a stream of events nor JSON; it begins with "
        f"{start[:SHOWN_BYTES]!r}",
    )


def _is_text(start: bytes) -> bool:
    try:
        text, _ = codecs.utf_8_decode(start, "strict", False)  # noqa: FBT003 (positional only)
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)


def _has_field(start: bytes) -> bool:
    """Return whether a text begins like a stream of events, perhaps one that was cut."""
    return FIELD.search(start) is not None or b"data:".startswith(start)


def _is_whole(document: bytes) -> bool:
    """Return whether a document is a whole completion of a chat."""
    return WHOLE.search(document) is not None and b'"delta"' not in document


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
