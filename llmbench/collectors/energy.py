"""Energy counters: of NVIDIA GPUs (NVML), and of processors where they can be read (RAPL).

Counters are read, power is not: what a card calls its power is sampled for a part of the time only
(Yang et al., *Part-time Power Measurements*, SC 2024), and the counter is what integrates it.
docs/energy.md has the method and its errors.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from pydantic import Field

from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.collectors.gpu.devices import Device, visible_devices
from llmbench.collectors.rapl import POWERCAP, EnergyCounter, Zone, zones
from llmbench.environment.nvml import open_nvml
from llmbench.errors import Unavailable
from llmbench.units import Seconds

FASTEST = 0.001  # between readings while a counter's period is measured
FEWEST_PERIODS = 3
OF_CARD = "energy is counted for whole cards, and this is one MIG instance of it"


class Energy(Collector):
    """Energy counters of GPUs and processors, with their update periods and the idle power.

    Before the load, with the model loaded and the counters read as fast as they go, their periods
    and the idle power are measured for ``idle``; after it the counters are read for as long again,
    so that the energy of the whole run lies between two idle moments.
    """

    class Options(CollectorOptions):
        """``{kind: energy, interval: 20 ms, idle: 1 s}``."""

        interval: Seconds = Field(default=0.02, ge=0.01, description="between readings")
        idle: Seconds = Field(
            default=1.0, ge=0, le=10, description="of idling that is watched before and after"
        )

        @property
        def idle_seconds(self) -> float:
            """The same."""
            return self.idle

    options: Options

    def probe(self, pid: int) -> Probe:  # noqa: ARG002 (counters are of the machine)
        """Open the probe on every counter of this machine."""
        meters = [*_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")), *_processors()]
        return EnergyProbe(meters, self.options.idle, self.options.interval)


class Meter(Protocol):
    """One counter of energy.

    ``name`` is what its series is named after, ``unavailable`` why it cannot be read here, or None;
    ``facts`` has its ``method`` and what tells it from others of its kind.
    """

    name: str
    unavailable: str | None
    facts: dict[str, Any]

    def read(self) -> float:
        """Return the joules since some moment, or raise Unavailable."""


class NoMeter:
    """Stands in for a counter that cannot be read, and says why."""

    def __init__(self, name: str, method: str, why: str) -> None:
        self.name = name
        self.unavailable: str | None = why
        self.facts: dict[str, Any] = {"method": method}

    def read(self) -> float:
        """Read nothing."""
        raise Unavailable(str(self.unavailable))


class GpuCounter:
    """The total energy of a card since its driver was loaded (nvmlDeviceGetTotalEnergyConsumption).

    Whether there is one is found by asking, never by the card's model.
    """

    def __init__(self, nvml: Any, device: Device) -> None:
        self.name = f"gpu{device.index}"
        self.facts = {"method": "nvml-counter", "uuid": device.uuid, "device": device.name}
        self._nvml = nvml
        self._handle = device.handle
        self.unavailable = OF_CARD if device.is_instance else self._why_not()

    def _why_not(self) -> str | None:
        try:
            self.read()
        except Unavailable as why:
            return str(why)
        return None

    def read(self) -> float:
        """Read the counter, which NVML gives in millijoules."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except self._nvml.NVMLError as error:
            raise Unavailable(f"NVML: {error}") from None


class ProcessorCounter:
    """The energy of a package or its memory, which the kernel counts (RAPL)."""

    def __init__(self, zone: Zone) -> None:
        self.name = zone.name.replace("-", "")
        self.facts = {"method": "rapl"}
        self.unavailable = zone.unavailable
        self._counter = EnergyCounter(zone)
        self._counter.begin()

    def read(self) -> float:
        """Read the joules since the probe was opened, through any number of wraps."""
        joules = self._counter.read()
        if joules is None:
            raise Unavailable(str(self._counter.invalid))
        return joules


def _processors(root: Path = POWERCAP) -> Iterator[Meter]:
    found = zones(root)
    if found.unavailable:
        yield NoMeter("package0", "rapl", found.unavailable)
    for zone in (*found.packages, *found.drams):
        yield ProcessorCounter(zone)


def _gpus(visible: str | None) -> Iterator[Meter]:
    try:
        nvml = open_nvml()
    except Unavailable as why:
        yield NoMeter("gpu0", "nvml-counter", str(why))
        return
    for device in visible_devices(nvml, visible):
        yield GpuCounter(nvml, device)


class EnergyProbe:
    """Reads counters, and keeps of each the moments at which it rose."""

    def __init__(
        self,
        meters: Sequence[Meter],
        idle: float,
        interval: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._counters = [_Counter(meter) for meter in meters]
        self._idle, self._interval, self._now, self._sleep = idle, interval, now, sleep
        for counter, ticks in zip(self._counters, self._watch_idle(), strict=True):
            counter.characterize(ticks)

    def _watch_idle(self) -> list[list[tuple[float, float]]]:
        """Give the (moment, joules) at which each counter rose while nothing ran."""
        ticks: list[list[tuple[float, float]]] = [[] for _ in self._counters]
        end = self._now() + self._idle
        while any(not each.meter.unavailable for each in self._counters) and self._now() < end:
            for counter, seen in zip(self._counters, ticks, strict=True):
                joules = counter.rise()
                if joules is not None:
                    seen.append((self._now(), joules))
            self._sleep(FASTEST)
        return ticks

    def quantities(self) -> Sequence[Quantity]:
        """List one counter each, in joules since the first reading."""
        return [
            Quantity(f"{each.meter.name}_energy_joules", "J", each.meter.unavailable)
            for each in self._counters
        ]

    def begin(self) -> None:
        """Note nothing: counters are compared with themselves."""

    def read(self) -> Sequence[float | None]:
        """Read every counter; None where it stands where it stood."""
        return [counter.rise() for counter in self._counters]

    def conclude(self) -> Conclusion:
        """Wait until all is idle again; give each counter's method, period and whole run."""
        for counter, ticks in zip(self._counters, self._watch_idle(), strict=True):
            counter.conclude(ticks)
        told = {"polled_seconds": self._interval}
        facts = {each.meter.name: {**each.facts, **told} for each in self._counters}
        return Conclusion({"energy": facts})


class _Counter:
    """One meter, and what has been seen of it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.facts = {**meter.facts, "unavailable": meter.unavailable}
        self._first: float | None = None
        self._last: float | None = None
        self._failed: Counter[str] = Counter()
        self._idle_end: tuple[float, float] | None = None

    def rise(self) -> float | None:
        """Give the joules since the first reading where they are others than at the last one."""
        if self.meter.unavailable:
            return None
        try:
            joules = self.meter.read()
        except Unavailable as why:
            self._failed[str(why)] += 1
            return None
        if self._first is None:
            self._first = self._last = joules  # when it began to stand here is not known
            return None
        if joules == self._last:
            return None
        self._last = joules
        return joules - self._first

    def characterize(self, ticks: Sequence[tuple[float, float]]) -> None:
        """Measure the update period and the power of an idle machine."""
        moments = [moment for moment, _ in ticks]
        gaps = [late - early for early, late in pairwise(moments)]
        self.facts["period_seconds"] = median(gaps) if len(gaps) >= FEWEST_PERIODS else None
        self.facts["idle_watts"] = _watts(ticks[0], ticks[-1]) if len(ticks) > 1 else None
        self._idle_end = ticks[-1] if ticks else None

    def conclude(self, ticks: Sequence[tuple[float, float]]) -> None:
        """Sum up the whole run, from a rise in the idle time before to one in that after."""
        begin, end = self._idle_end, ticks[-1] if ticks else None
        if begin and end and end[1] >= begin[1]:
            self.facts["run_joules"] = end[1] - begin[1]
            self.facts["run_seconds"] = end[0] - begin[0]
        self.facts["failed_readings"] = dict(self._failed)


def _watts(begin: tuple[float, float], end: tuple[float, float]) -> float | None:
    joules, seconds = end[1] - begin[1], end[0] - begin[0]
    return joules / seconds if joules > 0 and seconds > 0 else None
