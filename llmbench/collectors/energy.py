"""Energy counters of NVIDIA GPUs (NVML) and, where readable, of CPUs (RAPL).

Energy is read from counters instead of integrating power readings, because some GPUs sample power
only part of the time (Yang et al., *Part-time Power Measurements*, SC 2024). docs/energy.md
explains the method and its errors.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

from pydantic import Field

from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.collectors.gpu.devices import Device, visible_devices
from llmbench.collectors.rapl import EnergyCounter, Zone, zones
from llmbench.environment.nvml import open_nvml
from llmbench.environment.probing import why_unavailable
from llmbench.errors import Unavailable
from llmbench.units import Seconds

IDLE_INTERVAL = 0.001  # seconds between readings of the idle machine
LEAST_SECONDS = 0.2  # between two stored rises of a counter
MIN_PERIODS = 3
OF_CARD = "NVML counts the energy of whole GPUs only, and this is a MIG instance"


class Energy(Collector):
    """Energy counters of GPUs and CPUs, with their update periods and the idle power.

    With the model loaded, counters are polled every millisecond for ``idle`` before the load, to
    determine their update periods and the idle power. They are polled for the same time after the
    load, so that the energy of the run is counted between two updates while idle.
    """

    class Options(CollectorOptions):
        """``{kind: energy, interval: 20 ms, idle: 1 s}``."""

        interval: Seconds = Field(default=0.02, ge=0.01, description="time between readings")
        idle: Seconds = Field(
            default=1.0, ge=0, le=10, description="idle time to measure before and after the load"
        )

        @property
        def idle_seconds(self) -> float:
            """The idle time before and after the load, in seconds."""
            return self.idle

    options: Options

    def probe(self, pid: int) -> Probe:  # noqa: ARG002 (counters are machine-wide)
        """Open a probe of all GPU and CPU energy counters of this machine."""
        meters = [*_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")), *_processors()]
        return EnergyProbe(meters, self.options.idle, self.options.interval)


class Meter(Protocol):
    """One energy counter.

    ``name`` is the device in the series' name; ``unavailable`` is the reason why the counter cannot
    be read on this machine, or None. ``facts`` has its ``method`` and identifies the device.
    """

    name: str
    unavailable: str | None
    facts: dict[str, Any]

    def read(self) -> float:
        """Return the joules since an arbitrary origin, or raise Unavailable."""


class NoMeter:
    """Stands in for an energy counter that cannot be read."""

    def __init__(self, name: str, method: str, reason: str) -> None:
        self.name = name
        self.unavailable: str | None = reason
        self.facts: dict[str, Any] = {"method": method}

    def read(self) -> float:
        """Raise Unavailable with the reason."""
        raise Unavailable(str(self.unavailable))


class GpuCounter:
    """A GPU's total energy since its driver was loaded (nvmlDeviceGetTotalEnergyConsumption).

    Support is detected by calling it, never by the GPU model.
    """

    def __init__(self, nvml: Any, device: Device) -> None:
        self.name = f"gpu{device.index}"
        self.facts = {"method": "nvml-counter", "uuid": device.uuid, "device": device.name}
        self._nvml = nvml
        self._handle = device.handle
        self.unavailable = OF_CARD if device.is_instance else why_unavailable(self.read)

    def read(self) -> float:
        """Return the joules since the driver was loaded, or raise Unavailable."""
        try:
            millijoules = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError as error:
            raise Unavailable(f"NVML: {error}") from None
        return float(millijoules) / 1e3


class ProcessorCounter:
    """The RAPL energy of a CPU package or of its memory."""

    def __init__(self, zone: Zone) -> None:
        self.name = zone.name.replace("-", "")
        self.facts = {"method": "rapl"}
        self.unavailable = zone.unavailable
        self._counter = EnergyCounter(zone)
        self._counter.begin()

    def read(self) -> float:
        """Return the joules since the probe was opened, across any number of wraparounds."""
        joules = self._counter.read()
        if joules is None:
            raise Unavailable(str(self._counter.invalid))
        return joules


def _processors() -> Iterator[Meter]:
    rapl = zones()
    if rapl.unavailable:
        yield NoMeter("package0", "rapl", rapl.unavailable)
    for zone in (*rapl.packages, *rapl.drams):
        yield ProcessorCounter(zone)


def _gpus(visible: str | None) -> Iterator[Meter]:
    try:
        nvml = open_nvml()
    except Unavailable as reason:
        yield NoMeter("gpu0", "nvml-counter", str(reason))
        return
    for device in visible_devices(nvml, visible):
        yield GpuCounter(nvml, device)


class EnergyProbe(Probe):
    """Reads energy counters; a reading has a value only if the counter has just increased.

    Between updates that are expected from its period, a counter is not read.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        idle: float,
        interval: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._counters = [_Tracker(meter, interval) for meter in meters]
        self._idle, self._interval, self._now, self._sleep = idle, interval, now, sleep
        for counter, ticks in zip(self._counters, self._watch_idle(), strict=True):
            counter.characterize_idle(ticks)

    def _watch_idle(self) -> list[list[tuple[float, float]]]:
        """Poll for the idle time; return (time, joules) of each increase, per counter."""
        ticks: list[list[tuple[float, float]]] = [[] for _ in self._counters]
        end = self._now() + self._idle
        while any(not c.meter.unavailable for c in self._counters) and self._now() < end:
            for counter, rises in zip(self._counters, ticks, strict=True):
                now = self._now()
                joules = counter.rise(now)
                if joules is not None:
                    rises.append((now, joules))
            self._sleep(IDLE_INTERVAL)
        return ticks

    def quantities(self) -> Sequence[Quantity]:
        """Return one quantity per counter, in joules since its first reading."""
        return [
            Quantity(f"{counter.meter.name}_energy_joules", "J", counter.meter.unavailable)
            for counter in self._counters
        ]

    def begin(self) -> None:
        """Do nothing, since only differences between readings are used."""

    def read(self) -> Sequence[float | None]:
        """Return each counter's joules since its first reading; None if it has not increased."""
        return [counter.rise(self._now()) for counter in self._counters]

    def not_before(self) -> float:
        """Return the time, an interval before the next expected update of a counter."""
        readable = (counter for counter in self._counters if not counter.meter.unavailable)
        return min((counter.expected for counter in readable), default=0.0) - self._interval

    def conclude(self) -> Conclusion:
        """Poll while idle again; return each counter's method, update period and run energy."""
        for counter, ticks in zip(self._counters, self._watch_idle(), strict=True):
            counter.conclude(ticks)
        facts = {
            counter.meter.name: {**counter.facts, "polled_seconds": self._interval}
            for counter in self._counters
        }
        return Conclusion({"energy": facts})


class _Tracker:
    """A meter with its first and last reading, failed readings and derived facts."""

    def __init__(self, meter: Meter, interval: float) -> None:
        self.meter = meter
        self.expected = 0.0  # the time of the next update that is needed; 0: any reading may be it
        self._longest_gap = 2.5 * interval  # a rise after a longer one has no known time
        self._read_at = -math.inf
        self.facts = {**meter.facts, "unavailable": meter.unavailable}
        self._first: float | None = None
        self._last: float | None = None
        self._failed: Counter[str] = Counter()
        self._idle_end: tuple[float, float] | None = None

    def rise(self, now: float) -> float | None:
        """Return the joules since the first reading.

        None if the counter has not increased, or if it is unknown when.
        """
        if self.meter.unavailable:
            return None
        try:
            joules = self.meter.read()
        except Unavailable as reason:
            self._failed[str(reason)] += 1
            return None
        if self._first is None:
            self._first = self._last = joules
        has_risen, is_recent = joules != self._last, now - self._read_at <= self._longest_gap
        self._last, self._read_at = joules, now
        if not (has_risen and is_recent):
            return None
        self.expected = self._after(now)
        return joules - self._first

    def _after(self, rise: float) -> float:
        """Return the time of the first update LEAST_SECONDS after a rise."""
        period = self.facts.get("period_seconds")
        return rise + math.ceil(LEAST_SECONDS / period) * period if period else 0.0

    def characterize_idle(self, ticks: Sequence[tuple[float, float]]) -> None:
        """Compute the update period and idle power from (time, joules) at each counter increase."""
        moments = [moment for moment, _ in ticks]
        gaps = [late - early for early, late in pairwise(moments)]
        self.facts["period_seconds"] = median(gaps) if len(gaps) >= MIN_PERIODS else None
        self.facts["idle_watts"] = _watts(ticks[0], ticks[-1]) if len(ticks) > 1 else None
        self._idle_end = ticks[-1] if ticks else None

    def conclude(self, ticks: Sequence[tuple[float, float]]) -> None:
        """Compute the run's energy between the last counter updates before and after the load."""
        begin, end = self._idle_end, ticks[-1] if ticks else None
        if begin and end and end[1] >= begin[1]:
            self.facts["run_joules"] = end[1] - begin[1]
            self.facts["run_seconds"] = end[0] - begin[0]
        self.facts["failed_readings"] = dict(self._failed)


def _watts(begin: tuple[float, float], end: tuple[float, float]) -> float | None:
    joules, seconds = end[1] - begin[1], end[0] - begin[0]
    return joules / seconds if joules > 0 and seconds > 0 else None
