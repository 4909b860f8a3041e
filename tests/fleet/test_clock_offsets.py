"""Clock offsets are exact up to their stated bounds, whatever the network does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.fleet.clock_offsets import Offset, RemoteClock, RoundTrip
from llmbench.loads.clock import MonotonicClock

delays = st.floats(0, 5, allow_nan=False)
ways = st.lists(st.tuples(delays, delays), min_size=1, max_size=20)
offsets = st.floats(-1e6, 1e6)
drifts = st.floats(-500e-6, 500e-6)
ROUNDING = 1e-8  # of float64 at the largest readings, 1e6 s


@dataclass
class Machine:
    """A machine whose clock is ahead by an offset and a drift, behind a network with given delays.

    Its reading is 1 + drift times the local time, plus the offset.
    """

    offset: float = 0.0
    drift: float = 0.0
    ways: Sequence[tuple[float, float]] = ((0.001, 0.001),)
    now: float = 100.0
    _next: Callable[[], tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        self._next = cycle(self.ways).__next__

    def reading(self, local: float) -> float:
        return local * (1 + self.drift) + self.offset

    def round_trip(self) -> RoundTrip:
        there, back = self._next()
        sent = self.now
        self.now += there + back
        return RoundTrip(sent, self.reading(sent + there), self.now)

    def clock(self, load_seconds: float) -> RemoteClock:
        """Return the machine's clock, compared before and after a load."""
        clock = RemoteClock(self.round_trip)
        clock.begin()
        self.now += load_seconds
        clock.end()
        return clock


@given(offsets, ways)
def test_the_true_offset_is_within_the_bound_for_any_asymmetric_delays(
    offset: float, ways: list[tuple[float, float]]
) -> None:
    machine = Machine(offset, ways=ways)
    estimate = Offset.of([machine.round_trip() for _ in ways])
    assert abs(offset - estimate.seconds) <= estimate.error_bound + ROUNDING


@given(ways)
def test_the_bound_is_half_of_the_least_round_trip(ways: list[tuple[float, float]]) -> None:
    machine = Machine(ways=ways)
    estimate = Offset.of([machine.round_trip() for _ in ways])
    assert estimate.error_bound == pytest.approx(min(map(sum, ways)) / 2, abs=ROUNDING)


def test_equal_delays_give_the_exact_offset() -> None:
    machine = Machine(offset=-256.5, ways=[(0.25, 0.25), (0.125, 0.125)])
    estimate = Offset.of([machine.round_trip() for _ in range(2)])
    assert (estimate.seconds, estimate.error_bound) == (-256.5, 0.125)


@given(offsets, drifts, ways, st.floats(0.1, 1e5), st.floats(0, 1))
def test_corrected_times_are_within_the_bound_for_any_offset_drift_and_delays(
    offset: float, drift: float, ways: list[tuple[float, float]], seconds: float, share: float
) -> None:
    machine = Machine(offset, drift, ways)
    began = machine.now
    clock = machine.clock(seconds)
    before, after = clock.before, clock.after
    assert before is not None
    assert after is not None
    # a moment of the load, as this machine and the other one read it
    run = MonotonicClock(began)
    moment = before.at + before.error_bound + share * max(0.0, seconds - 2 * before.error_bound)
    read = machine.reading(moment) - clock.remote(run).origin
    (corrected,) = clock.corrected(run, [read])
    bound: float = clock.facts["error_bound_seconds"]
    assert abs(corrected - run_time(run, moment)) <= bound * (1 + 1e-3) + 10 * ROUNDING


def run_time(clock: MonotonicClock, local: float) -> float:
    return local - clock.origin


def test_with_equal_delays_offset_and_drift_are_removed_exactly() -> None:
    machine = Machine(offset=1000.0, drift=100e-6)
    run = MonotonicClock(90.0)
    clock = machine.clock(600.0)
    for moment in (100.0, 250.0, 700.0):
        read = machine.reading(moment) - clock.remote(run).origin
        assert read != pytest.approx(moment - 90.0, abs=1e-5) or moment == 100.0
        assert clock.corrected(run, [read]) == pytest.approx([moment - 90.0], abs=1e-7)
    assert clock.facts["drift_ppm"] == pytest.approx(100.0, abs=1e-3)


def test_the_drift_of_a_lost_machine_is_unknown() -> None:
    machine = Machine(offset=1000.0)
    clock, run = RemoteClock(machine.round_trip), MonotonicClock(90.0)
    clock.begin()
    assert clock.facts["drift_ppm"] is None
    assert clock.corrected(run, [12.5]) == [12.5]


@given(drifts, ways, st.floats(0.1, 1e5))
def test_the_true_drift_is_within_its_bound(
    drift: float, ways: list[tuple[float, float]], seconds: float
) -> None:
    facts = Machine(0.0, drift, ways).clock(seconds).facts
    error = abs(facts["drift_ppm"] - 1e6 * drift)
    assert error <= facts["drift_error_bound_ppm"] * (1 + 1e-3) + 1e6 * ROUNDING / seconds
