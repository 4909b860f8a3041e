"""Where the time of an engine's loop goes, in total and over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmbench.analysis.engine_time import ACTIVITIES
from llmbench.runs.series import Series

MAX_READINGS = 2048
FIRST_INTERVAL = 0.01  # seconds between readings


class StepLog:
    """The seconds and the number of an engine's activities since ``began``.

    An activity lasts from the end of the previous one, so that seconds add up to the whole time,
    and a step includes the engine's work before it. The totals are read at the first end of an
    activity in each interval. At MAX_READINGS, every other one is dropped and the interval doubles.
    """

    def __init__(self, began: float) -> None:
        self.seconds = dict.fromkeys(ACTIVITIES, 0.0)
        self.counts = dict.fromkeys(ACTIVITIES, 0)
        self.decoded_sequences = 0
        self._last = began
        self._interval = FIRST_INTERVAL
        self._next = began + FIRST_INTERVAL
        self._readings: list[tuple[float, ...]] = [(began, *self.seconds.values())]

    def note(self, activity: str, now: float) -> None:
        """Add an activity that ended ``now``."""
        self.seconds[activity] += now - self._last
        self.counts[activity] += 1
        self._last = now
        if now >= self._next:
            self._read()

    def _read(self) -> None:
        self._readings.append((self._last, *self.seconds.values()))
        if len(self._readings) == MAX_READINGS:
            del self._readings[1::2]
            self._interval *= 2
        self._next = self._readings[-1][0] + self._interval

    def series(self) -> tuple[Series, ...]:
        """Return each activity's share of the time since the previous reading, in percent."""
        readings = self._readings
        if self._last > readings[-1][0]:
            readings = [*readings, (self._last, *self.seconds.values())]
        times, *seconds = np.transpose(readings)
        return tuple(
            Series.measured(
                f"engine_{activity}_percent",
                "% of time",
                times[1:],
                100 * np.diff(spent) / np.diff(times),
            )
            for activity, spent in zip(ACTIVITIES, seconds, strict=True)
        )

    def report(self) -> dict[str, Any]:
        """Return the seconds and the number of each activity, and the sequences decoded."""
        return {
            "seconds": self.seconds,
            "counts": self.counts,
            "decoded_sequences": self.decoded_sequences,
        }
