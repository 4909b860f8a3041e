"""Reading a probe at a steady pace, on a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.collectors.base import Conclusion, Probe, Quantity
from llmbench.collectors.recorder import Recorder, Ticks
from llmbench.loads.clock import VirtualClock
from llmbench.runs.caveats import Caveat
from llmbench.runs.series import Series

SEEN = Conclusion({"seen": True}, (Caveat("seen", message="Something was seen.", remedy="Look."),))


class Scripted(Probe):
    """Returns known readings; an exception among them is raised."""

    def __init__(
        self, readings: Sequence[Sequence[float | None] | Exception], clock: VirtualClock
    ) -> None:
        self.script, self.clock = iter(readings), clock

    def quantities(self) -> Sequence[Quantity]:
        return Quantity("a", "A"), Quantity("b", "B"), Quantity("c", "C", "not on this machine")

    def begin(self) -> None:
        pass

    def read(self) -> Sequence[float | None]:
        self.clock.advance(0.25)
        reading = next(self.script)
        if isinstance(reading, Exception):
            raise reading
        return reading

    def conclude(self) -> Conclusion:
        return SEEN


def recorder(*readings: Sequence[float | None] | Exception) -> tuple[Recorder, VirtualClock]:
    clock = VirtualClock()
    made = Recorder("scripted", 1.0, lambda: Scripted(readings, clock), clock.now)
    made.begin(clock.now())
    return made, clock


def record(made: Recorder, clock: VirtualClock, times: int) -> None:
    for _ in range(times):
        clock.sleep_until(made.due)
        made.read()


def test_a_reading_has_the_time_at_which_it_is_complete() -> None:
    made, clock = recorder((1, 10, None), (2, 20, None))
    record(made, clock, 2)
    first, second, third = made.series()
    assert first == Series.measured("a", "A", (1.25, 2.25), (1, 2))
    assert second == Series.measured("b", "B", (1.25, 2.25), (10, 20))
    assert third.why_unavailable == "not on this machine"


def test_an_unavailable_reading_leaves_a_gap_and_no_zero() -> None:
    made, clock = recorder((1, 10, None), (None, 20, None), (3, 30, None))
    record(made, clock, 3)
    first, _, _ = made.series()
    assert first == Series.measured("a", "A", (1.25, 3.25), (1, 3))


def test_quantities_without_any_reading_have_the_reason() -> None:
    made, clock = recorder((None, 1, None))
    record(made, clock, 1)
    first, _, _ = made.series()
    assert first.why_unavailable == "no reading succeeded during this run"


def test_a_run_shorter_than_the_interval_is_the_reason() -> None:
    made, _ = recorder()
    first, _, _ = made.series()
    assert first.why_unavailable == "the run was shorter than the interval of 1 s"


def test_intervals_before_the_time_that_the_probe_names_are_skipped_and_not_missed() -> None:
    class Resting(Scripted):
        def not_before(self) -> float:
            return self.clock.now() + 3.5

    clock = VirtualClock()
    made = Recorder("resting", 1.0, lambda: Resting([(1, 10, None)] * 3, clock), clock.now)
    made.begin(clock.now())
    record(made, clock, 3)
    first, _, _ = made.series()
    assert first.times.tolist() == [1.25, 4.25, 7.25]
    assert made.ticks.missed == 0


def test_a_reading_may_have_a_time_of_its_own() -> None:
    class Delayed(Scripted):
        def read_at(self) -> float:
            return self.clock.now() - 0.5

    clock = VirtualClock()
    made = Recorder("delayed", 1.0, lambda: Delayed([(1, 10, None)] * 2, clock), clock.now)
    made.begin(clock.now())
    record(made, clock, 2)
    first, _, _ = made.series()
    assert first.times.tolist() == [0.75, 1.75]


def test_a_probe_may_know_why_a_quantity_had_no_value() -> None:
    class Knowing(Scripted):
        def reasons(self) -> dict[str, str]:
            return {"a": "the server has no a"}

    clock = VirtualClock()
    made = Recorder("knowing", 1.0, lambda: Knowing([(None, None, None)], clock), clock.now)
    made.begin(clock.now())
    record(made, clock, 1)
    first, second, _ = made.series()
    assert first.why_unavailable == "the server has no a"
    assert second.why_unavailable == "no reading succeeded during this run"


def test_a_probe_that_fails_in_the_middle_keeps_its_readings_with_the_reason() -> None:
    made, clock = recorder((1, 10, None), OSError("the card fell off the bus"))
    record(made, clock, 2)
    first, _, _ = made.series()
    assert first.values.tolist() == [1.0]
    assert made.due == float("inf")
    conclusion = made.conclude()
    assert conclusion.facts == {}
    assert [caveat.message for caveat in conclusion.caveats] == [
        "The scripted collector failed after 1 reading(s): OSError: the card fell off the bus."
    ]


def test_a_probe_that_fails_at_its_first_reading_gives_series_with_the_reason() -> None:
    made, clock = recorder(OSError("no"))
    record(made, clock, 1)
    first, _, _ = made.series()
    assert first.why_unavailable == "the scripted collector failed: OSError: no"


def test_a_probe_with_too_few_values_fails() -> None:
    made, clock = recorder((1, 10))
    record(made, clock, 1)
    assert made.failure is not None
    assert made.failure.startswith("ValueError")


def test_a_probe_that_cannot_be_opened_is_a_caveat() -> None:
    def broken() -> Scripted:
        raise PermissionError("not allowed")

    made = Recorder("broken", 1.0, broken)
    made.begin(0.0)
    assert made.due == float("inf")
    assert list(made.series()) == []
    assert [caveat.kind for caveat in made.conclude().caveats] == ["collector-failed"]


def test_a_probe_with_nothing_to_read_is_never_read_and_still_concludes() -> None:
    class Idle(Scripted):
        def quantities(self) -> Sequence[Quantity]:
            return (Quantity("c", "C", "not on this machine"),)

    made = Recorder("idle", 1.0, lambda: Idle((), VirtualClock()))
    made.begin(0.0)
    assert made.due == float("inf")
    assert [series.why_unavailable for series in made.series()] == ["not on this machine"]
    assert made.conclude() == SEEN


def test_the_probes_conclusion_is_passed_on() -> None:
    made, _ = recorder()
    assert made.conclude() == SEEN


def test_a_probe_that_fails_at_the_end_keeps_its_series(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Scripted) -> Conclusion:
        raise OSError("gone")

    monkeypatch.setattr(Scripted, "conclude", failing)
    made, clock = recorder((1, 10, None))
    record(made, clock, 1)
    assert [caveat.kind for caveat in made.conclude().caveats] == ["collector-failed"]
    assert next(iter(made.series())).values.tolist() == [1.0]


def test_missing_more_than_one_reading_in_twenty_is_a_caveat() -> None:
    made, clock = recorder(*[(1, 1, None)] * 3)
    record(made, clock, 2)
    clock.advance(2)
    record(made, clock, 1)
    assert made.ticks.missed == 1
    caveat = made.conclude().caveats[-1]
    assert (caveat.kind, caveat.message) == (
        "sampler-late",
        "The scripted collector missed 1 of 4 readings.",
    )


def test_a_late_reading_does_not_shift_later_ones() -> None:
    ticks = Ticks(began=100.0, interval=0.5)
    dues = []
    for late in (0.0, 0.3, 0.1):
        dues.append(ticks.due)
        ticks.advance(ticks.due + late)
    assert dues == [100.5, 101.0, 101.5]
    assert ticks.missed == 0


def test_skipped_readings_are_counted() -> None:
    ticks = Ticks(began=0.0, interval=1.0)
    ticks.advance(4.5)
    assert (ticks.due, ticks.missed) == (5.0, 3)


@given(interval=st.floats(0.01, 10), delays=st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_every_moment_is_read_or_missed(interval: float, delays: list[float]) -> None:
    ticks = Ticks(began=0.0, interval=interval)
    for delay in delays:
        now = ticks.due + delay
        ticks.advance(now)
        assert ticks.due == pytest.approx(ticks.number * interval)
        assert ticks.due > now - 1e-6
    assert len(delays) + ticks.missed == ticks.number - 1
