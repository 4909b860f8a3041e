"""NVIDIA GPUs through NVML: busy time, memory, power, clocks, temperature and throttling."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

from llmbench.caveats import Caveat
from llmbench.collectors import gpu_readings
from llmbench.collectors.base import CollectorOptions, Conclusion, Probe, Quantity
from llmbench.collectors.gpu_devices import Device, order_is_sure, visible_devices
from llmbench.collectors.gpu_readings import READINGS, Reading
from llmbench.collectors.proc import Tree
from llmbench.environment.nvml import open_nvml
from llmbench.environment.reading import Missing

__all__ = ["Gpu", "GpuProbe", "NoGpuProbe"]

OF_CARD = "it belongs to the whole card, and this is one MIG instance of it"


class Gpu:
    """NVIDIA GPUs through NVML; quantities that a machine does not have are null with the reason.

    Busy time is the share of time with some kernel running: it is 100 % with one multiprocessor
    at work, and so is no utilization. Devices are those that CUDA shows the process, numbered as
    CUDA does. Memory is what the driver gave to all processes, contexts included.
    """

    class Options(CollectorOptions):
        """``{kind: gpu, interval: 100 ms}``."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def probe(self, pid: int) -> Probe:
        """Open the probe, or one that says why there is none."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        try:
            nvml = open_nvml()
        except Missing as why:
            return NoGpuProbe(str(why))
        devices = visible_devices(nvml, visible)
        if not devices:
            return NoGpuProbe(f"CUDA_VISIBLE_DEVICES={visible!r} names no GPU of this machine")
        sure = order_is_sure(nvml, visible, os.environ.get("CUDA_DEVICE_ORDER"))
        tree = Tree(pid)
        probe = GpuProbe(nvml, devices, lambda: tree.pids(time.monotonic()))
        return probe if sure else UnsureOrder(probe)


class NoGpuProbe:
    """Stands in where there is no GPU to read, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def quantities(self) -> Sequence[Quantity]:
        """List what would be read, each with the reason why it is not."""
        return [Quantity(f"gpu0_{r.name}", r.unit, self._why) for r in READINGS]

    def begin(self) -> None:
        """Note nothing."""

    def read(self) -> Sequence[float | None]:
        """Read nothing."""
        return [None] * len(READINGS)

    def conclude(self) -> Conclusion:
        """Say that there is nothing to say."""
        return Conclusion({"gpus": []})


class GpuProbe:
    """Reads devices; what one does not tell at the start is unavailable with NVML's own words.

    ``own_pids`` gives the ids of the process under test and its descendants.
    """

    def __init__(
        self,
        nvml: Any,
        devices: Sequence[Device],
        own_pids: Callable[[], frozenset[int]],
        is_here: Callable[[int], bool] = psutil.pid_exists,
    ) -> None:
        self._own_pids = own_pids
        self._devices = [_Watched(nvml, device, is_here) for device in devices]

    def quantities(self) -> Sequence[Quantity]:
        """List what each reading holds."""
        return [quantity for each in self._devices for quantity in each.quantities()]

    def begin(self) -> None:
        """Note the throttle counters, and who else is on the devices."""
        own = self._own_pids()
        for each in self._devices:
            each.begin(own)

    def read(self) -> Sequence[float | None]:
        """Read every quantity of every device."""
        return [value for each in self._devices for value in each.read()]

    def conclude(self) -> Conclusion:
        """Give devices and limits over the window, and doubts about throttling and neighbours."""
        own = self._own_pids()
        facts = [each.facts(own) for each in self._devices]
        return Conclusion({"gpus": facts}, tuple(_doubts(facts)))


class UnsureOrder:
    """A probe whose devices may not be numbered as CUDA does."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.quantities, self.begin, self.read = probe.quantities, probe.begin, probe.read

    def conclude(self) -> Conclusion:
        """Sum up, and say that the numbers may be wrong."""
        concluded = self._probe.conclude()
        return Conclusion(concluded.facts, (*concluded.caveats, _unsure_order()))


class _Watched:
    """One device, and what has been seen of it."""

    def __init__(self, nvml: Any, device: Device, is_here: Callable[[int], bool]) -> None:
        self._nvml = nvml
        self._device = device
        self._is_here = is_here
        self._unavailable = {reading.name: self._why_not(reading) for reading in READINGS}
        self._failed: Counter[tuple[str, str]] = Counter()
        self._masks: Counter[int] = Counter()

    def _why_not(self, reading: Reading) -> str | None:
        if reading.of_card and self._device.is_instance:
            return OF_CARD
        try:
            reading.ask(self._nvml, self._device.handle)
        except self._nvml.NVMLError as error:
            return f"NVML: {error}"
        return None

    def quantities(self) -> Iterator[Quantity]:
        for reading in READINGS:
            name = f"gpu{self._device.index}_{reading.name}"
            yield Quantity(name, reading.unit, self._unavailable[reading.name])

    def begin(self, own: frozenset[int]) -> None:
        self._limited = gpu_readings.limit_seconds(self._nvml, self._device.handle)
        self._others = self._count_others(own)

    def read(self) -> Iterator[float | None]:
        for reading in READINGS:
            value = None if self._unavailable[reading.name] else self._ask(reading)
            if reading.name == "throttle_reasons" and value is not None:
                self._masks[int(value)] += 1
            yield value

    def _ask(self, reading: Reading) -> float | None:
        try:
            return float(reading.ask(self._nvml, self._device.handle))
        except self._nvml.NVMLError as error:
            self._failed[reading.name, f"NVML: {error}"] += 1
            return None

    def _count_others(self, own: frozenset[int]) -> int | None:
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._device.handle)
        except self._nvml.NVMLError:
            return None
        listed = frozenset(process.pid for process in running)
        return gpu_readings.others(listed, own, self._is_here)

    def facts(self, own: frozenset[int]) -> dict[str, Any]:
        limited = gpu_readings.limit_seconds(self._nvml, self._device.handle)
        edges = [self._others, self._count_others(own)]
        return {
            "index": self._device.index,
            "uuid": self._device.uuid,
            "name": self._device.name,
            "limited_seconds": gpu_readings.differences(self._limited, limited),
            "throttle_reasons": gpu_readings.reason_shares(self._masks),
            "other_processes": max((n for n in edges if n is not None), default=None),
            "failed_readings": [
                {"quantity": name, "why": why, "count": count}
                for (name, why), count in self._failed.items()
            ],
        }


def _doubts(facts: Sequence[dict[str, Any]]) -> Iterator[Caveat]:
    for each in facts:
        held = {limit: seconds for limit, seconds in each["limited_seconds"].items() if seconds}
        if held or each["throttle_reasons"]:
            yield _throttled(each["index"], held, each["throttle_reasons"])
        if each["other_processes"]:
            yield _shared(each["index"], each["other_processes"])


def _throttled(gpu: int, held: dict[str, float], shares: dict[str, float]) -> Caveat:
    """Tell of counted seconds; where a driver counts none, of the readings that had the reason."""
    counted = [f"{limit} for {seconds:.2f} s" for limit, seconds in held.items()]
    sampled = [f"{name} in {100 * share:.0f} % of readings" for name, share in shares.items()]
    return Caveat(
        "gpu-throttled",
        f"GPU {gpu} was held below its clocks by a limit: {', '.join(counted or sampled)}.",
        "Cool it or lower its load; compare only with runs that were held back alike.",
    )


def _shared(gpu: int, count: int) -> Caveat:
    return Caveat(
        "gpu-shared",
        f"{count} other process(es) used GPU {gpu} at the beginning or end of this run.",
        "Stop them and measure again; `nvidia-smi` lists them.",
    )


def _unsure_order() -> Caveat:
    return Caveat(
        "gpu-order",
        "This machine has GPUs of several models, and CUDA may number them differently from NVML.",
        "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs by UUID in CUDA_VISIBLE_DEVICES.",
    )
