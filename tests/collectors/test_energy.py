"""Energy counters of known power, on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from llmbench.collectors.energy import EnergyProbe, GpuCounter, NoMeter
from llmbench.collectors.gpu.devices import Device
from llmbench.collectors.recorder import Recorder
from llmbench.errors import Unavailable

IDLE, INTERVAL = 1.0, 0.02


@dataclass
class Time:
    """A clock that advances when somebody sleeps."""

    seconds: float = 100.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Simulated:
    """A counter that follows a power, in steps of its period."""

    time: Time
    watts: Callable[[float], float] = lambda _: 100.0
    period: float = 0.1
    name: str = "gpu0"
    unavailable: str | None = None
    facts: dict[str, Any] = field(default_factory=lambda: {"method": "simulated"})
    fails: Callable[[float], str | None] = lambda _: None
    steps: int = 0
    joules: float = 0.0

    def read(self) -> float:
        if reason := self.fails(self.time.now()):
            raise Unavailable(reason)
        for step in range(self.steps, int(self.time.now() / self.period + 1e-9)):
            self.joules += self.watts(step * self.period) * self.period
            self.steps = step + 1
        return self.joules


def probe_of(*meters: Any, time: Time, idle: float = IDLE) -> EnergyProbe:
    return EnergyProbe(meters, idle, INTERVAL, now=time.now, sleep=time.sleep)


def load(probe: EnergyProbe, time: Time, seconds: float) -> list[tuple[float, float]]:
    """Read as the sampler does; return the (time, joules) of the first meter's rises."""
    seen = []
    for _ in range(round(seconds / INTERVAL)):
        time.sleep(INTERVAL)
        joules = probe.read()[0]
        if joules is not None:
            seen.append((time.now(), joules))
    return seen


def load_as_due(probe: EnergyProbe, time: Time, seconds: float) -> tuple[int, list[float]]:
    """Read only when due; return the number of readings and the times of rises."""
    recorder = Recorder("energy", INTERVAL, lambda: probe, time.now)
    recorder.begin(time.now())
    end = time.now() + seconds
    while recorder.due < end:
        time.seconds = recorder.due
        recorder.read()
    (series,) = recorder.series()
    return recorder.readings, series.times.tolist()


def facts_of(probe: EnergyProbe, name: str = "gpu0") -> dict[str, Any]:
    facts: dict[str, Any] = probe.conclude().facts["energy"][name]
    return facts


@pytest.mark.parametrize("period", [0.01, 0.02, 0.1])
def test_a_counters_period_is_measured_before_the_load(period: float) -> None:
    time = Time()
    facts = facts_of(probe_of(Simulated(time, period=period), time=time))
    assert facts["period_seconds"] == pytest.approx(period, abs=0.0015)


def test_idle_power_is_measured_before_the_load() -> None:
    time = Time()
    probe = probe_of(Simulated(time, watts=lambda _: 62.5), time=time)
    assert facts_of(probe)["idle_watts"] == pytest.approx(62.5, rel=0.02)


def test_a_reading_is_none_where_the_counter_has_not_risen() -> None:
    time = Time()
    probe = probe_of(Simulated(time, period=0.1), time=time)
    assert len(load(probe, time, 2.0)) == pytest.approx(20, abs=1)


@pytest.mark.parametrize("period", [0.02, 0.03, 0.1, 0.2])
def test_a_counter_is_read_around_its_updates_only(period: float) -> None:
    time = Time()
    probe = probe_of(Simulated(time, period=period), time=time)
    readings, rises = load_as_due(probe, time, 20.0)
    assert readings < 20 * 16, "of 1,000 intervals"
    assert len(rises) > 20 * 2.9


@pytest.mark.parametrize("period", [0.1, 0.1013, 0.2])
def test_a_rise_is_stored_at_most_an_interval_after_the_update(period: float) -> None:
    time = Time()
    probe = probe_of(Simulated(time, period=period), time=time)
    _, rises = load_as_due(probe, time, 30.0)
    assert all(moment % period <= INTERVAL + 1e-6 for moment in rises)


def test_a_counter_of_unknown_period_is_read_at_every_interval() -> None:
    time = Time()
    probe = probe_of(Simulated(time), time=time, idle=0.0)
    readings, _ = load_as_due(probe, time, 2.0)
    assert readings == 99


def test_joules_between_two_rises_are_the_energy_used() -> None:
    time = Time()
    probe = probe_of(Simulated(time, watts=lambda t: 50.0 if t < 102 else 400.0), time=time)
    (begin, first), *_, (end, last) = load(probe, time, 6.0)
    used = 50 * (102 - begin) + 400 * (end - 102)
    assert last - first == pytest.approx(used, rel=0.02)


def test_the_energy_of_the_run_is_counted_between_two_idle_moments() -> None:
    time = Time()
    loaded = (101.0, 105.0)
    meter = Simulated(time, watts=lambda t: 400.0 if loaded[0] <= t < loaded[1] else 50.0)
    probe = probe_of(meter, time=time)
    load(probe, time, 4.0)
    facts = facts_of(probe)
    idle_seconds = facts["run_seconds"] - 4.0
    assert facts["run_joules"] == pytest.approx(400 * 4.0 + 50 * idle_seconds, rel=0.01)


def test_a_counter_that_never_rises_has_no_period_no_idle_power_and_no_run() -> None:
    time = Time()
    probe = probe_of(Simulated(time, watts=lambda _: 0.0), time=time)
    assert load(probe, time, 1.0) == []
    facts = facts_of(probe)
    assert facts["period_seconds"] is None
    assert facts["idle_watts"] is None
    assert "run_joules" not in facts


def test_failed_readings_are_counted_by_reason_and_have_no_value() -> None:
    time = Time()
    lost = Simulated(time, fails=lambda t: "NVML: GPU is lost" if t > 102 else None)
    probe = probe_of(lost, time=time)
    seen = load(probe, time, 3.0)
    assert max(moment for moment, _ in seen) <= 102
    facts = facts_of(probe)
    assert facts["failed_readings"]["NVML: GPU is lost"] > 50
    assert "run_joules" not in facts


def test_a_counter_that_cannot_be_read_is_unavailable_with_its_reason() -> None:
    time = Time()
    probe = probe_of(NoMeter("gpu0", "nvml-counter", "no NVIDIA driver"), time=time)
    (quantity,) = probe.quantities()
    assert (quantity.name, quantity.unavailable) == ("gpu0_energy_joules", "no NVIDIA driver")
    assert probe.read() == [None]
    assert time.now() == 100.0, "nobody waits where nothing can be read"


def test_meters_are_read_independently() -> None:
    time = Time()
    probe = probe_of(Simulated(time), NoMeter("gpu1", "nvml-counter", "x"), time=time)
    assert len(load(probe, time, 1.0)) >= 9
    assert facts_of(probe, "gpu1")["unavailable"] == "x"


class Nvml:
    class NVMLError(Exception):
        pass

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def nvmlDeviceGetTotalEnergyConsumption(self, _: Any) -> int:  # noqa: N802 (NVML's name)
        if isinstance(self.answer, str):
            raise self.NVMLError(self.answer)
        return int(self.answer)


def test_nvml_counts_in_millijoules() -> None:
    assert GpuCounter(Nvml(12_345), Device(0, "h", "GPU-1", "Card")).read() == 12.345


def test_a_card_without_a_counter_is_detected_by_calling_it() -> None:
    meter = GpuCounter(Nvml("Not Supported"), Device(0, "h", "GPU-1", "Card"))
    assert meter.unavailable == "NVML: Not Supported"


def test_an_instance_of_a_card_has_no_energy_of_its_own() -> None:
    meter = GpuCounter(Nvml(5), Device(0, "h", "MIG-1", "Card", is_instance=True))
    assert "MIG" in str(meter.unavailable)
