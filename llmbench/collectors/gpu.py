"""NVIDIA GPUs through NVML: busy time, memory, power, clocks, temperature and throttling."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.caveats import Caveat
from llmbench.collectors.base import CollectorOptions, Conclusion, Probe, Quantity

__all__ = ["Gpu", "GpuProbe", "NoGpuProbe", "visible_devices"]


class Gpu:
    """NVIDIA GPUs through NVML; quantities that a machine does not have are null with the reason.

    ``busy`` is the share of time with some kernel running: it is 100 % with one multiprocessor at
    work, and so is no utilization.
    """

    class Options(CollectorOptions):
        """``{kind: gpu, interval: 100 ms}``."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def probe(self, pid: int) -> Probe:
        """Open the probe, or one that says why there is none."""
        import pynvml  # noqa: PLC0415 (looks for the driver; needed only where GPUs are watched)

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            return NoGpuProbe(f"NVML is not available: {error}")
        handles = visible_devices(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if not handles:
            return NoGpuProbe("CUDA_VISIBLE_DEVICES names no GPU")
        return GpuProbe(pynvml, handles, pid)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One quantity of a GPU: its name and unit, and how NVML is asked for it."""

    name: str
    unit: str
    ask: Callable[[Any, Any], float]


READINGS = (
    _Reading("busy_percent", "%", lambda n, h: n.nvmlDeviceGetUtilizationRates(h).gpu),
    _Reading("memory_used_bytes", "B", lambda n, h: n.nvmlDeviceGetMemoryInfo(h).used),
    _Reading("power_watts", "W", lambda n, h: n.nvmlDeviceGetPowerUsage(h) / 1e3),
    _Reading(
        "power_instant_watts", "W", lambda n, h: _field(n, h, n.NVML_FI_DEV_POWER_INSTANT) / 1e3
    ),
    _Reading(
        "sm_clock_hertz", "Hz", lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM) * 1e6
    ),
    _Reading(
        "memory_clock_hertz", "Hz", lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM) * 1e6
    ),
    _Reading(
        "temperature_celsius",
        "°C",
        lambda n, h: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
    ),
    _Reading(
        "throttle_reasons",
        "bits",
        lambda n, h: n.nvmlDeviceGetCurrentClocksEventReasons(h),
    ),
)

# Cumulative nanoseconds for which a limit held the clocks down.
LIMITS = {"power": "NVML_FI_DEV_PERF_POLICY_POWER", "thermal": "NVML_FI_DEV_PERF_POLICY_THERMAL"}


def _field(nvml: Any, handle: Any, field: int) -> float:
    """Ask for one field value; each has a return code of its own. Raises NVMLError."""
    (found,) = nvml.nvmlDeviceGetFieldValues(handle, [field])
    if found.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(found.nvmlReturn)
    by_type = {
        nvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
        nvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    }
    return float(getattr(found.value, by_type[found.valueType]))


def visible_devices(nvml: Any, visible: str | None) -> list[Any]:
    """Give NVML's handles of the GPUs that CUDA shows a process, in CUDA's order.

    ``visible`` is CUDA_VISIBLE_DEVICES: indices, UUIDs or beginnings of UUIDs; like CUDA, it ends
    at the first entry that names no GPU. Indices follow NVML's order, which is CUDA's where
    CUDA_DEVICE_ORDER is PCI_BUS_ID or all cards are alike.
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    if visible is None:
        return handles
    by_name = {str(index): handle for index, handle in enumerate(handles)}
    by_name |= {nvml.nvmlDeviceGetUUID(handle): handle for handle in handles}
    chosen = []
    for entry in visible.split(","):
        matches = [name for name in by_name if _names(entry.strip(), name)]
        if len(matches) != 1:
            break
        chosen.append(by_name[matches[0]])
    return chosen


def _names(entry: str, name: str) -> bool:
    return entry == name or (entry.startswith("GPU-") and name.startswith(entry))


class NoGpuProbe:
    """Stands in where there is no GPU to read, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def quantities(self) -> Sequence[Quantity]:
        """List what would be read, each with the reason why it is not."""
        return [Quantity(f"gpu0_{r.name}", r.unit, self._why) for r in READINGS]

    def read(self) -> Sequence[float | None]:
        """Read nothing."""
        return [None] * len(READINGS)

    def conclude(self) -> Conclusion:
        """Say that there is nothing to say."""
        return Conclusion({"gpus": []})


class GpuProbe:
    """Reads every visible GPU; what fails at the start is unavailable with NVML's own words."""

    def __init__(self, nvml: Any, handles: Sequence[Any], pid: int) -> None:
        self._nvml = nvml
        self._handles = handles
        self._pid = pid
        self._failed = {
            (gpu, reading.name): self._why_not(reading, handle)
            for gpu, handle in enumerate(handles)
            for reading in READINGS
        }
        self._limited = self._limit_seconds()
        self._foreign = self._foreign_processes()

    def _why_not(self, reading: _Reading, handle: Any) -> str | None:
        try:
            reading.ask(self._nvml, handle)
        except self._nvml.NVMLError as error:
            return f"NVML: {error}"
        return None

    def quantities(self) -> Sequence[Quantity]:
        """List what each reading holds."""
        return [
            Quantity(f"gpu{gpu}_{reading.name}", reading.unit, self._failed[gpu, reading.name])
            for gpu in range(len(self._handles))
            for reading in READINGS
        ]

    def read(self) -> Sequence[float | None]:
        """Read every quantity of every GPU."""
        return [
            None if self._failed[gpu, reading.name] else self._ask(reading, handle)
            for gpu, handle in enumerate(self._handles)
            for reading in READINGS
        ]

    def _ask(self, reading: _Reading, handle: Any) -> float | None:
        try:
            return float(reading.ask(self._nvml, handle))
        except self._nvml.NVMLError:
            return None

    def conclude(self) -> Conclusion:
        """Give devices and limits over the window, and doubts about throttling and neighbours."""
        limited = self._difference(self._limit_seconds())
        foreign = self._foreign | self._foreign_processes()
        devices = [
            {
                "uuid": self._nvml.nvmlDeviceGetUUID(handle),
                "name": self._nvml.nvmlDeviceGetName(handle),
                "limited_seconds": limited[gpu],
            }
            for gpu, handle in enumerate(self._handles)
        ]
        doubts = [
            *(_throttled(gpu, held) for gpu, held in enumerate(limited) if any(held.values())),
            *([_shared(foreign)] if foreign else []),
        ]
        return Conclusion({"gpus": devices}, tuple(doubts))

    def _limit_seconds(self) -> list[dict[str, float | None]]:
        return [
            {limit: self._field_seconds(handle, name) for limit, name in LIMITS.items()}
            for handle in self._handles
        ]

    def _field_seconds(self, handle: Any, name: str) -> float | None:
        try:
            return _field(self._nvml, handle, getattr(self._nvml, name)) / 1e9
        except self._nvml.NVMLError:
            return None

    def _difference(self, after: list[dict[str, float | None]]) -> list[dict[str, float | None]]:
        return [
            {
                limit: None if end is None or (begin := early[limit]) is None else end - begin
                for limit, end in late.items()
            }
            for early, late in zip(self._limited, after, strict=True)
        ]

    def _foreign_processes(self) -> frozenset[int]:
        found: set[int] = set()
        for handle in self._handles:
            try:
                running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except self._nvml.NVMLError:
                continue
            found |= {process.pid for process in running}
        return frozenset(found - {self._pid})


def _throttled(gpu: int, held: dict[str, float | None]) -> Caveat:
    limits = " and ".join(f"{limit} for {s:.2f} s" for limit, s in held.items() if s)
    return Caveat(
        "gpu-throttled",
        f"GPU {gpu} was held back by its limits during this run: {limits}.",
        "Cool it or lower its load; compare only with runs that were held back alike.",
    )


def _shared(pids: frozenset[int]) -> Caveat:
    return Caveat(
        "gpu-shared",
        f"{len(pids)} other process(es) used the GPU at the beginning or end of this run.",
        "Stop them and measure again; inside a container a process may be seen under another id.",
    )
