"""NVIDIA GPUs through NVML: utilization, activity, memory, power, clocks, throttling."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import psutil

from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.collectors.gpu import readings
from llmbench.collectors.gpu.devices import Device, cuda_order_known, visible_devices
from llmbench.collectors.gpu.gpm import ACTIVITIES, ActivityMeter, NoGpm, open_gpm
from llmbench.collectors.gpu.readings import OF_CARD, POWER_LIMITS, READINGS, Reading
from llmbench.collectors.proc import Tree
from llmbench.environment.nvml import open_nvml, virtualization
from llmbench.errors import Unavailable
from llmbench.runs.caveats import Caveat

T = TypeVar("T")


class Gpu(Collector):
    """NVIDIA GPUs through NVML; an unsupported quantity is null, with the reason.

    Busy time is the fraction of time in which at least one kernel runs: 100 % even if only one SM
    is busy. The activities of GPM measure how much of the GPU is used. Devices are those visible to
    CUDA, in CUDA's order. Memory is the driver's allocation for all processes, including contexts.
    docs/telemetry.md defines each quantity.
    """

    class Options(CollectorOptions):
        """``{kind: gpu, interval: 100 ms}``."""

    options: Options

    def probe(self, pid: int) -> Probe:
        """Open a probe of the visible GPUs, or a stand-in with the reason if there are none."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        try:
            nvml = open_nvml()
        except Unavailable as reason:
            return NoGpuProbe(str(reason))
        try:
            return _opened(nvml, visible, Tree(pid))
        except nvml.NVMLError as error:  # a lost GPU has no handle
            return NoGpuProbe(f"NVML: {error}")


def _opened(nvml: Any, visible: str | None, tree: Tree) -> Probe:
    devices = visible_devices(nvml, visible)
    if not devices:
        return NoGpuProbe(f"CUDA_VISIBLE_DEVICES={visible!r} selects no GPU of this machine")
    is_sure = cuda_order_known(nvml, visible, os.environ.get("CUDA_DEVICE_ORDER"))
    probe = GpuProbe(nvml, devices, lambda: tree.pids(time.monotonic()))
    return probe if is_sure else UncertainOrder(probe)


class NoGpuProbe(Probe):
    """Stands in if there is no GPU to read."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def quantities(self) -> Sequence[Quantity]:
        """Return all quantities, each unavailable with the reason."""
        unread = [Quantity(f"gpu0_{r.name}", r.unit, self._reason) for r in READINGS]
        return [*unread, *NoGpm(self._reason).quantities("gpu0")]

    def begin(self) -> None:
        """Do nothing."""

    def read(self) -> Sequence[float | None]:
        """Return None for each quantity."""
        return [None] * (len(READINGS) + len(ACTIVITIES))

    def conclude(self) -> Conclusion:
        """Return an empty list of GPUs."""
        return Conclusion({"gpus": []})


class GpuProbe(Probe):
    """Reads all visible GPUs; an unsupported quantity is unavailable with NVML's message.

    ``own_pids`` returns the ids of the process under test and its descendants.
    """

    def __init__(
        self,
        nvml: Any,
        devices: Sequence[Device],
        own_pids: Callable[[], frozenset[int]],
        *,
        pid_exists: Callable[[int], bool] = psutil.pid_exists,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._own_pids = own_pids
        self._devices = [
            DeviceProbe(nvml, device, open_gpm(nvml, device, now, sleep), pid_exists, now)
            for device in devices
        ]

    def quantities(self) -> Sequence[Quantity]:
        """Return the quantities of every device, in the order of readings."""
        return [quantity for device in self._devices for quantity in device.quantities()]

    def begin(self) -> None:
        """Record each device's initial throttle counters, and the other processes on it."""
        own = self._own_pids()
        for device in self._devices:
            device.begin(own)

    def read(self) -> Sequence[float | None]:
        """Return the value of every quantity of every device."""
        return [value for device in self._devices for value in device.read()]

    def conclude(self) -> Conclusion:
        """Return the properties of the GPUs, how long each was throttled, and caveats."""
        own = self._own_pids()
        facts = [device.conclude(own) for device in self._devices]
        return Conclusion({"gpus": facts}, tuple(_caveats(facts)))


class UncertainOrder:
    """A probe whose devices may not be in CUDA's order."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.quantities, self.begin, self.read = probe.quantities, probe.begin, probe.read
        self.not_before, self.read_at = probe.not_before, probe.read_at
        self.reasons = probe.reasons

    def conclude(self) -> Conclusion:
        """Return the wrapped probe's conclusion, and that the device order may be wrong."""
        conclusion = self._probe.conclude()
        return Conclusion(conclusion.facts, (*conclusion.caveats, Caveat("gpu-order")))


def _caveats(facts: Sequence[dict[str, Any]]) -> Iterator[Caveat]:
    for gpu in facts:
        index = gpu["index"]
        limited = {limit: seconds for limit, seconds in gpu["limited_seconds"].items() if seconds}
        if limited or gpu["throttle_reasons"]:
            yield _throttled(index, limited, gpu["throttle_reasons"])
        if gpu["other_processes"]:
            yield Caveat("gpu-shared", gpu=index, count=gpu["other_processes"])
        if gpu["is_instance"] or gpu["virtualization"] == "vgpu":
            share = "MIG instance" if gpu["is_instance"] else "vGPU"
            yield Caveat("gpu-partial", gpu=index, share=share)
        if gpu["lost"]:
            seconds, reason = gpu["lost"]["after_seconds"], gpu["lost"]["why"]
            yield Caveat("gpu-lost", gpu=index, uuid=gpu["uuid"], seconds=seconds, reason=reason)


def _throttled(gpu: int, limited: dict[str, float], shares: dict[str, float]) -> Caveat:
    """Return the throttling caveat, with seconds per limit or else the percentage of readings.

    Throttling by power limits alone comes from the load itself; other throttling may pass.
    """
    counted = [f"{limit} for {seconds:.2f} s" for limit, seconds in limited.items()]
    uncounted = {name: share for name, share in shares.items() if name not in limited}
    sampled = [f"{name} in {100 * share:.0f} % of readings" for name, share in uncounted.items()]
    limits = [*counted, *sampled]
    if {*limited, *uncounted} <= POWER_LIMITS:
        return Caveat("gpu-power-limited", gpu=gpu, limits=limits)
    return Caveat("gpu-throttled", gpu=gpu, limits=limits)


# -- one device ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a GPU: seconds since the window began, and NVML's message."""

    after_seconds: float
    why: str


class DeviceProbe:
    """Reads one GPU or MIG instance until NVML reports it as lost."""

    def __init__(
        self,
        nvml: Any,
        device: Device,
        gpm: ActivityMeter,
        pid_exists: Callable[[int], bool],
        now: Callable[[], float],
    ) -> None:
        self._nvml = nvml
        self._device = device
        self._gpm = gpm
        self._pid_exists = pid_exists
        self._now = now
        self._lost_codes = {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED}
        self._unavailable = {reading.name: self._reason(reading) for reading in READINGS}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._masks: Counter[int] = Counter()
        self._loss: Loss | None = None

    def _reason(self, reading: Reading) -> str | None:
        """Return why a quantity is unavailable, or None."""
        if reading.of_card and self._device.is_instance:
            return OF_CARD
        try:
            reading.ask(self._nvml, self._device.handle)
        except self._nvml.NVMLError as error:
            return f"NVML: {error}"
        return None

    def quantities(self) -> Iterator[Quantity]:
        """Yield the quantities of NVML, then GPM's activities."""
        prefix = f"gpu{self._device.index}"
        for reading in READINGS:
            name = f"{prefix}_{reading.name}"
            yield Quantity(name, reading.unit, self._unavailable[reading.name])
        yield from self._gpm.quantities(prefix)

    def begin(self, own: frozenset[int]) -> None:
        """Record the initial counters and other processes; ``own`` has our processes' ids."""
        self._began = self._now()
        self._settings = {
            "virtualization": self._or_none(lambda: virtualization(self._nvml, self._device.card)),
            "power_limit_watts": self._or_none(self._power_limit_watts),
        }
        self._limited = readings.limit_seconds(self._nvml, self._device.handle)
        self._others = self._count_others(own)
        self._try("gpm", self._gpm.begin)

    def read(self) -> Iterator[float | None]:
        """Yield the current value of every quantity, None for an unavailable one."""
        for reading in READINGS:
            yield None if self._unavailable[reading.name] else self._read(reading)
        yield from self._try("gpm", self._gpm.read) or (None,) * len(ACTIVITIES)

    def _read(self, reading: Reading) -> float | None:
        value = self._try(reading.name, lambda: reading.ask(self._nvml, self._device.handle))
        if reading.name == "throttle_reasons" and value is not None:
            self._masks[int(value)] += 1
        return None if value is None else float(value)

    def _try(self, name: str, ask: Callable[[], T]) -> T | None:
        """Return the result of an NVML call, or None after recording a failure or a lost GPU."""
        if self._loss:
            return None
        try:
            return ask()
        except self._nvml.NVMLError as error:
            self._note(name, error)
            return None

    def _note(self, name: str, error: Any) -> None:
        reason = f"NVML: {error}"
        if error.value in self._lost_codes:
            self._loss = Loss(self._now() - self._began, reason)
        else:
            self._failures[name, reason] += 1

    def _or_none(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except self._nvml.NVMLError:
            return None

    def _power_limit_watts(self) -> float:
        return float(self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._device.card)) / 1e3

    def _count_others(self, own: frozenset[int]) -> int | None:
        # the versioned name: without it, a driver that is too old raises no NVMLError
        ask = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3
        running = self._or_none(lambda: ask(self._device.handle))
        if running is None:
            return None
        listed = frozenset(process.pid for process in running)
        return readings.count_others(listed, own, self._pid_exists)

    def conclude(self, own: frozenset[int]) -> dict[str, Any]:
        """Free the GPM samples; return the device's properties, throttling and failed readings."""
        self._gpm.close()
        limited = readings.limit_seconds(self._nvml, self._device.handle)
        edges: Sequence[int | None] = [self._others, self._count_others(own)]
        return {
            "index": self._device.index,
            "uuid": self._device.uuid,
            "name": self._device.name,
            "is_instance": self._device.is_instance,
            **self._settings,
            "limited_seconds": readings.differences(self._limited, limited),
            "throttle_reasons": readings.reason_shares(self._masks),
            "other_processes": max((n for n in edges if n is not None), default=None),
            "lost": asdict(self._loss) if self._loss else None,
            "failed_readings": [
                {"quantity": name, "why": reason, "count": count}
                for (name, reason), count in self._failures.items()
            ],
        }
