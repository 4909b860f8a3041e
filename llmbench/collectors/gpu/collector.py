"""NVIDIA GPUs through NVML: busy time, activity, memory, power, clocks, heat and throttling."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

from llmbench.collectors.base import CollectorOptions, Conclusion, Probe, Quantity
from llmbench.collectors.gpu.devices import Device, order_is_sure, visible_devices
from llmbench.collectors.gpu.gpm import ACTIVITIES, NoGpm, open_gpm
from llmbench.collectors.gpu.readings import READINGS
from llmbench.collectors.gpu.watched import Watched
from llmbench.collectors.proc import Tree
from llmbench.environment.nvml import open_nvml
from llmbench.errors import Unavailable
from llmbench.runs.caveats import Caveat


class Gpu:
    """NVIDIA GPUs through NVML; quantities that a machine does not have are null with the reason.

    Busy time is the share of time with some kernel running: it is 100 % with one multiprocessor
    at work, and so is no utilization; the activities of GPM are. Devices are those that CUDA shows
    the process, numbered as CUDA does. Memory is what the driver gave to all processes, contexts
    included. docs/telemetry.md tells what each quantity is.
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
        except Unavailable as why:
            return NoGpuProbe(str(why))
        try:
            return _opened(nvml, visible, Tree(pid))
        except nvml.NVMLError as error:  # a card that is lost has no handle
            return NoGpuProbe(f"NVML: {error}")


def _opened(nvml: Any, visible: str | None, tree: Tree) -> Probe:
    devices = visible_devices(nvml, visible)
    if not devices:
        return NoGpuProbe(f"CUDA_VISIBLE_DEVICES={visible!r} names no GPU of this machine")
    sure = order_is_sure(nvml, visible, os.environ.get("CUDA_DEVICE_ORDER"))
    probe = GpuProbe(nvml, devices, lambda: tree.pids(time.monotonic()))
    return probe if sure else UnsureOrder(probe)


class NoGpuProbe:
    """Stands in where there is no GPU to read, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def quantities(self) -> Sequence[Quantity]:
        """List what would be read, each with the reason why it is not."""
        readings = [Quantity(f"gpu0_{r.name}", r.unit, self._why) for r in READINGS]
        return [*readings, *NoGpm(self._why).quantities("gpu0")]

    def begin(self) -> None:
        """Note nothing."""

    def read(self) -> Sequence[float | None]:
        """Read nothing."""
        return [None] * (len(READINGS) + len(ACTIVITIES))

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
        *,
        is_here: Callable[[int], bool] = psutil.pid_exists,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._own_pids = own_pids
        self._devices = [
            Watched(nvml, device, open_gpm(nvml, device, now, sleep), is_here, now)
            for device in devices
        ]

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
        """Give devices and limits over the window, and doubts about the devices."""
        own = self._own_pids()
        facts = [each.conclude(own) for each in self._devices]
        return Conclusion({"gpus": facts}, tuple(_doubts(facts)))


class UnsureOrder:
    """A probe whose devices may not be numbered as CUDA does."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self.quantities, self.begin, self.read = probe.quantities, probe.begin, probe.read

    def conclude(self) -> Conclusion:
        """Sum up, and say that the numbers may be wrong."""
        concluded = self._probe.conclude()
        return Conclusion(concluded.facts, (*concluded.caveats, Caveat("gpu-order")))


def _doubts(facts: Sequence[dict[str, Any]]) -> Iterator[Caveat]:
    for each in facts:
        held = {limit: seconds for limit, seconds in each["limited_seconds"].items() if seconds}
        if held or each["throttle_reasons"]:
            yield _throttled(each["index"], held, each["throttle_reasons"])
        if each["other_processes"]:
            yield Caveat("gpu-shared", gpu=each["index"], count=each["other_processes"])
        if each["is_instance"] or each["virtualization"] == "vgpu":
            share = "MIG instance" if each["is_instance"] else "vGPU"
            yield Caveat("gpu-partial", gpu=each["index"], share=share)
        if each["lost"]:
            seconds, reason = each["lost"]["after_seconds"], each["lost"]["why"]
            gpu, uuid = each["index"], each["uuid"]
            yield Caveat("gpu-lost", gpu=gpu, uuid=uuid, seconds=seconds, reason=reason)


def _throttled(gpu: int, held: dict[str, float], shares: dict[str, float]) -> Caveat:
    """Tell of counted seconds, and of the share of readings for reasons that nothing counts."""
    counted = [f"{limit} for {seconds:.2f} s" for limit, seconds in held.items()]
    sampled = [
        f"{name} in {100 * share:.0f} % of readings"
        for name, share in shares.items()
        if name not in held
    ]
    return Caveat("gpu-throttled", gpu=gpu, limits=[*counted, *sampled])
