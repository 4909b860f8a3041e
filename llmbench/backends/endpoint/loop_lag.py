"""How late an event loop stamps what it reads."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

HEARTBEAT_SECONDS = 0.01
PAUSE_SECONDS = 50e-6  # of two callbacks with a shorter pause, the loop did not wait between them


@dataclass(slots=True)
class LoopLag:
    """An upper bound of the delay between the arrival of bytes and their timestamp, in seconds.

    Bytes wait while the loop is busy: at most since it last waited for input, since the
    connection was last read, or, if the operating system did not run this process, since an overdue
    heartbeat was due. Every callback reports its begin and end. ``beats`` has the delay of each
    heartbeat, due every HEARTBEAT_SECONDS.
    """

    next_beat: float = 0.0
    beats: array[float] = field(default_factory=lambda: array("d"))
    _busy_since: float = 0.0
    _ended: float = float("-inf")

    def begin(self, now: float) -> None:
        """Report that a callback begins."""
        if now - self._ended > PAUSE_SECONDS:
            self._busy_since = now

    def end(self, now: float) -> None:
        """Report that a callback ends."""
        self._ended = now

    def begin_read(self, last_read: float, now: float) -> float:
        """Report that a callback begins which read bytes at ``now``; return their bound.

        The connection was last read or written at ``last_read``.
        """
        if now - self._ended > PAUSE_SECONDS:
            self._busy_since = now
        # without min and max, whose calls take time in every read
        since = self._busy_since if self._busy_since < self.next_beat else self.next_beat  # noqa: FURB136
        if last_read > since:  # noqa: PLR1730
            since = last_read
        return now - since if now > since else 0.0

    def beat(self, now: float) -> None:
        """Record the delay of a heartbeat."""
        self.beats.append(now - self.next_beat)
        self.next_beat = now + HEARTBEAT_SECONDS
