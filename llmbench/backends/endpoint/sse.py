"""Parser of server-sent events, as defined by the HTML standard.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from llmbench.backends.endpoint.limits import EVENT_BYTES, Refused

BOM = b"\xef\xbb\xbf"


class EventReader:
    """Parses arbitrarily split bytes into the data of complete events.

    Lines end with CR, LF or CRLF; comments and fields other than ``data`` are ignored; data lines
    of an event are joined by LF. An incomplete event at the end is discarded.
    """

    def __init__(self) -> None:
        self._partial = bytearray()
        self._data: bytes | bytearray | None = None
        self._after_cr = False
        self._started = False
        self.is_between_events = False

    @property
    def buffered(self) -> int:
        """The number of bytes of the incomplete event."""
        return len(self._partial) + len(self._data or b"")

    def feed(self, received: bytes) -> list[bytes]:
        """Parse the next bytes and return the data of each event that they complete.

        Raises Refused if the incomplete event is longer than EVENT_BYTES.
        """
        if (  # the bytes are exactly one event with one data line, the common case
            self.is_between_events
            and received.startswith(b"data: ")
            and received.find(b"\n") == len(received) - 2
            and received.endswith(b"\n")
            and b"\r" not in received
        ):
            return [received[6:-2]]
        events = self._events(received)
        buffered = self.buffered
        self.is_between_events = not (buffered or self._data is not None or self._after_cr)
        if buffered > EVENT_BYTES and not events:
            raise Refused("too-large", f"an event has more than {EVENT_BYTES:,} bytes")
        return events

    def _events(self, received: bytes) -> list[bytes]:
        if self._after_cr and received:
            self._after_cr = False
            received = received.removeprefix(b"\n")
        if b"\n" not in received and b"\r" not in received:
            self._partial += received
            return []
        lines = self._lines(received)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _lines(self, received: bytes) -> list[bytes]:
        """Return the complete lines and keep the incomplete last one for the next bytes."""
        text = bytes(self._partial) + received if self._partial else received
        if not self._started:
            self._started = True
            text = text.removeprefix(BOM)
        self._after_cr = text.endswith(b"\r")
        lines = text.splitlines()
        ended = self._after_cr or text.endswith(b"\n")
        self._partial = bytearray() if ended else bytearray(lines.pop())
        return lines

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            self._add(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            self._add(b"")
        return None

    def _add(self, data: bytes) -> None:
        """Add a data line to the incomplete event."""
        if self._data is None:
            self._data = data
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += b"\n"
        self._data += data

    def _dispatch(self) -> bytes | None:
        if self._data is None:
            return None
        event, self._data = bytes(self._data), None
        return event
