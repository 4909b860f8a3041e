"""Reading a probe at a fixed interval, and its readings as series."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llmbench.collectors.base import Conclusion, Probe, Quantity
from llmbench.runs.caveats import Caveat
from llmbench.runs.series import Series

MISSED_SHARE = 0.05


@dataclass(slots=True)
class Ticks:
    """The due times of readings: multiples of an interval, so that delays do not accumulate.

    ``missed`` counts the ticks that were skipped because an earlier reading ended too late.
    """

    began: float
    interval: float
    number: int = 1
    missed: int = 0

    @property
    def due(self) -> float:
        """The time of the next tick, on the clock of ``began``."""
        return self.began + self.number * self.interval

    def advance(self, now: float, not_before: float = 0.0) -> None:
        """Advance to the first tick after ``now``; skipped ticks count as missed.

        Continue to the last tick before ``not_before``; those in between are not missed.
        """
        following = max(self.number, self._last_before(now)) + 1
        self.missed += following - self.number - 1
        self.number = max(following, self._last_before(not_before))

    def _last_before(self, moment: float) -> int:
        return int((moment - self.began) / self.interval)


class Recorder:
    """A running collector: its probe, its ticks, and its readings so far.

    A probe that fails, or cannot be opened, is not read again; ``failure`` is then the reason.
    """

    def __init__(
        self,
        kind: str,
        interval: float,
        open_probe: Callable[[], Probe],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = kind
        self._now = now
        self.failure: str | None = None
        self._probe: Probe  # unset if it cannot be opened; it is not used after a failure
        self.quantities: tuple[Quantity, ...] = ()
        self._is_idle = True
        self._not_before = 0.0
        self._guard(lambda: self._open(open_probe))
        self._columns = [(array("d"), array("d")) for _ in self.quantities]
        self.readings = 0
        self.ticks = Ticks(now(), interval)

    def begin(self, now: float) -> None:
        """Begin the window at ``now``; recorders with equal ``now`` and interval read together."""
        self._guard(lambda: self._probe.begin())  # noqa: PLW0108 (after a failure, it may be unset)
        self.ticks = Ticks(now, self.ticks.interval)

    def _open(self, open_probe: Callable[[], Probe]) -> None:
        self._probe = open_probe()
        self.quantities = tuple(self._probe.quantities())
        self._is_idle = all(quantity.unavailable for quantity in self.quantities)

    def _guard(self, step: Callable[[], None]) -> None:
        if self.failure:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 (a plugin's failure must not stop other probes)
            self.failure = f"{type(error).__name__}: {error}"

    @property
    def due(self) -> float:
        """The due time of the next reading; infinity after a failure or if nothing is readable."""
        return math.inf if self.failure or self._is_idle else self.ticks.due

    def read(self) -> None:
        """Take one reading, with the time of its completion, and advance the ticks."""
        self._guard(self._read)
        self.ticks.advance(self._now(), self._not_before)

    def _read(self) -> None:
        values, now = self._probe.read(), self._now()
        read_at = self._probe.read_at()
        moment = now if read_at is None else read_at
        self._not_before = self._probe.not_before()
        self.readings += 1
        for (times, readings), value in zip(self._columns, values, strict=True):
            if value is not None:
                times.append(moment)
                readings.append(value)

    def series(self) -> Iterator[Series]:
        """Yield the series of every quantity, with times on the monotonic clock."""
        for quantity, (times, values) in zip(self.quantities, self._columns, strict=True):
            if quantity.unavailable or not values:
                reason = quantity.unavailable or self._why_empty(quantity.name)
                yield Series.unavailable(quantity.name, quantity.unit, reason)
            else:
                yield Series.measured(quantity.name, quantity.unit, times, values)

    def _why_empty(self, name: str) -> str:
        if self.failure:
            return f"the {self.kind} collector failed: {self.failure}"
        if not self.readings:
            return f"the run was shorter than the interval of {self.ticks.interval:g} s"
        return self._probe.reasons().get(name, "no reading succeeded during this run")

    def conclude(self) -> Conclusion:
        """Return the probe's facts and caveats, with caveats of the sampling itself."""
        conclusions = [Conclusion()]
        self._guard(lambda: conclusions.append(self._probe.conclude()))
        last = conclusions[-1]
        return Conclusion(last.facts, (*last.caveats, *self._caveats()))

    def _caveats(self) -> Iterator[Caveat]:
        if self.failure:
            yield Caveat(
                "collector-failed", collector=self.kind, reason=self.failure, readings=self.readings
            )
        due = self.readings + self.ticks.missed
        if self.ticks.missed > MISSED_SHARE * due:
            yield Caveat("sampler-late", collector=self.kind, missed=self.ticks.missed, due=due)
