"""Offsets between the monotonic clocks of machines, measured by round trips, with error bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmbench.loads.clock import MonotonicClock

ROUND_TRIPS = 50
PER_MILLION = 1e6


class RoundTrip(NamedTuple):
    """One reading of a remote clock, between two readings of the local one, in seconds."""

    sent: float
    read: float
    received: float


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a remote clock is ahead of the local one ``at`` a time of the local one, in seconds.

    The true offset differs by at most ``error_bound``.
    """

    at: float
    seconds: float
    error_bound: float

    @classmethod
    def of(cls, round_trips: Sequence[RoundTrip]) -> Offset:
        """Return the offset by the shortest round trip: θ = r − (s + e)/2, |error| ≤ (e − s)/2.

        Here s and e are the local times of sending and receiving, and r is the remote reading. It
        was taken between them, however the delay is divided between both ways (Cristian 1989;
        RFC 5905, section 8).
        """
        best = min(round_trips, key=lambda trip: trip.received - trip.sent)
        at = (best.sent + best.received) / 2
        return cls(at, best.read - at, (best.received - best.sent) / 2)


@dataclass(slots=True)
class RemoteClock:
    """The monotonic clock of another machine, compared with this one's before and after a load.

    ``round_trip`` reads it once. Between the two comparisons its drift is taken as constant; then
    a corrected time is wrong by at most the larger of both error bounds. Without a second
    comparison, because the machine was lost, the drift is unknown.
    """

    round_trip: Callable[[], RoundTrip]
    before: Offset | None = None
    after: Offset | None = None

    def begin(self) -> None:
        """Compare the clocks before a load."""
        self.before, self.after = self._compared(), None

    def end(self) -> None:
        """Compare the clocks after a load."""
        self.after = self._compared()

    def _compared(self) -> Offset:
        return Offset.of([self.round_trip() for _ in range(ROUND_TRIPS)])

    def remote(self, clock: MonotonicClock) -> MonotonicClock:
        """Return the clock with which the other machine reads the same times as ``clock``."""
        return MonotonicClock(clock.origin + self._begin.seconds)

    def corrected(self, clock: MonotonicClock, times: Sequence[float]) -> list[float]:
        """Return the times on ``clock`` at which the remote clock read ``times``.

        t = b + (x − b) · (a − b) / (a − b + θₐ − θᵦ), where x is the remote reading, a and b are
        the times of both comparisons on ``clock``, and θ their offsets.
        """
        begin, rate = self._begin.at - clock.origin, 1 + (self._drift or 0.0)
        return [begin + (seconds - begin) / rate for seconds in times]

    @property
    def _begin(self) -> Offset:
        assert self.before is not None  # noqa: S101 (a load begins with a comparison)
        return self.before

    @property
    def _drift(self) -> float | None:
        """Seconds that the remote clock gains per second of this one; None if unknown."""
        if self.after is None:
            return None
        return (self.after.seconds - self._begin.seconds) / (self.after.at - self._begin.at)

    @property
    def facts(self) -> dict[str, Any]:
        """The offset before the load, the larger error bound, and the drift in parts per million.

        The drift differs from the true one by at most ``drift_error_bound_ppm``.
        """
        offsets = [offset for offset in (self._begin, self.after) if offset]
        drift, bound = self._drift, None
        if self.after:
            bounds = sum(offset.error_bound for offset in offsets)
            bound = PER_MILLION * bounds / (self.after.at - self._begin.at)
        return {
            "offset_seconds": self._begin.seconds,
            "error_bound_seconds": max(offset.error_bound for offset in offsets),
            "drift_ppm": None if drift is None else PER_MILLION * drift,
            "drift_error_bound_ppm": bound,
        }
