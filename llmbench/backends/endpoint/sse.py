"""Read server-sent events from a stream of bytes, as the HTML standard defines them.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

BOM = b"\xef\xbb\xbf"


class EventReader:
    """Turns bytes, cut anywhere, into the data of whole events.

    Lines end with CR, LF or CRLF; comments and fields other than ``data`` are passed over; the
    data lines of an event are joined by LF. What is left when the stream ends is no event.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._after_cr = False
        self._begun = False

    @property
    def held(self) -> int:
        """Bytes of the event that is not complete yet."""
        return len(self._rest) + sum(map(len, self._data))

    def feed(self, received: bytes) -> list[bytes]:
        """Take bytes in and give the data of each event that they complete."""
        if self._is_one_event(received):
            self._begun = True
            return [received[6:-2]]
        if self._after_cr and received:
            self._after_cr = False
            received = received.removeprefix(b"\n")
        if b"\n" not in received and b"\r" not in received:
            self._rest += received
            return []
        lines = self._lines(received)
        return [event for line in lines if (event := self._line(line)) is not None]

    def _is_one_event(self, received: bytes) -> bool:
        """Tell by a quick look what servers send nearly always: one event of one line of data."""
        return (
            received.startswith(b"data: ")
            and received.find(b"\n") == len(received) - 2
            and received.endswith(b"\n")
            and b"\r" not in received
            and not (self._rest or self._data or self._after_cr)
        )

    def _lines(self, received: bytes) -> list[bytes]:
        """Cut at the ends of lines; what follows the last of them waits for more."""
        whole = bytes(self._rest) + received if self._rest else received
        if not self._begun:
            self._begun = True
            whole = whole.removeprefix(BOM)
        self._after_cr = whole.endswith(b"\r")
        lines = whole.splitlines()
        ended = self._after_cr or whole.endswith(b"\n")
        self._rest = bytearray() if ended else bytearray(lines.pop())
        return lines

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            self._data.append(b"")
        return None

    def _dispatch(self) -> bytes | None:
        if not self._data:
            return None
        event = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        return event
