"""Activity of SMs, tensor cores, DRAM and PCIe through NVML's GPM, on Hopper and later.

GPM stands for GPU Performance Monitoring. Each value is the mean between two samples. Names and
units are those of nvmlGpmMetricId_t in nvml.h.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol

from llmbench.collectors.base import Quantity
from llmbench.collectors.gpu.devices import Device
from llmbench.collectors.gpu.readings import OF_CARD

SPACING = 0.11  # seconds; two samples must be more than 100 ms apart

MEBIBYTE = 2.0**20

NO_GPM = "this GPU has no GPM counters; they require Hopper or later"
NO_METRICS = "NVML reports GPM support, but two samples failed: "


@dataclass(frozen=True, slots=True)
class Activity:
    """A GPM quantity, its NVML metric, and the factor that converts NVML's values to ``unit``.

    ``metric`` is the name without ``NVML_GPM_METRIC_``. ``of_card`` marks quantities of the whole
    GPU, which NVML does not report for a MIG instance.
    """

    name: str
    unit: str
    metric: str
    _: KW_ONLY
    scale: float = 1.0
    of_card: bool = False


ACTIVITIES = (
    Activity("sm_active_percent", "% of SMs", "SM_UTIL"),
    Activity("tensor_active_percent", "% of time", "ANY_TENSOR_UTIL"),
    Activity("dram_active_percent", "% of bandwidth", "DRAM_BW_UTIL"),
    Activity("pcie_rx_bytes_per_second", "B/s", "PCIE_RX_PER_SEC", scale=MEBIBYTE, of_card=True),
    Activity("pcie_tx_bytes_per_second", "B/s", "PCIE_TX_PER_SEC", scale=MEBIBYTE, of_card=True),
)

NOTHING: Sequence[float | None] = (None,) * len(ACTIVITIES)


class ActivityMeter(Protocol):
    """Reads the GPM activities of one device."""

    def quantities(self, prefix: str) -> Iterator[Quantity]:
        """Yield the activities' quantities, in the order of values."""

    def begin(self) -> None:
        """Take the first sample; raise NVMLError if that fails."""

    def read(self) -> Sequence[float | None]:
        """Return mean activities since the previous reading; all None if too little time passed."""

    def close(self) -> None:
        """Free the memory of the GPM samples."""


class NoGpm:
    """Stands in for the GPM meter of a device that has none."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def quantities(self, prefix: str) -> Iterator[Quantity]:
        """Yield the quantities, each unavailable with the reason."""
        return (Quantity(f"{prefix}_{a.name}", a.unit, self._reason) for a in ACTIVITIES)

    def begin(self) -> None:
        """Do nothing."""

    def read(self) -> Sequence[float | None]:
        """Return None for each activity."""
        return NOTHING

    def close(self) -> None:
        """Do nothing."""


class Gpm:
    """Reads a device's GPM activities from two alternating samples."""

    def __init__(self, nvml: Any, device: Device, now: Callable[[], float]) -> None:
        self._nvml = nvml
        self._device = device
        self._now = now
        self._old, self._new = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
        self._unavailable: dict[str, str | None] = {}

    def probe(self, sleep: Callable[[float], None]) -> None:
        """Take two samples to see which quantities are available; raises NVMLError on failure."""
        self.begin()
        sleep(SPACING)
        for activity, metric in zip(ACTIVITIES, self._means(), strict=True):
            self._unavailable[activity.name] = self._reason(activity, metric.nvmlReturn)

    def _reason(self, activity: Activity, code: int) -> str | None:
        if activity.of_card and self._device.is_instance:
            return OF_CARD
        return None if code == self._nvml.NVML_SUCCESS else f"NVML: {self._nvml.NVMLError(code)}"

    def quantities(self, prefix: str) -> Iterator[Quantity]:
        """Yield the quantities; an unavailable one has the reason, usually NVML's message."""
        for activity in ACTIVITIES:
            reason = self._unavailable[activity.name]
            yield Quantity(f"{prefix}_{activity.name}", activity.unit, reason)

    def begin(self) -> None:
        """Take the first sample; raise NVMLError if that fails."""
        self._take(self._new)

    def _take(self, sample: Any) -> None:
        if self._device.is_instance:
            # through the parent GPU: some drivers return wrong values for an instance's handle
            number = self._nvml.nvmlDeviceGetGpuInstanceId(self._device.handle)
            self._nvml.nvmlGpmMigSampleGet(self._device.card, number, sample)
        else:
            self._nvml.nvmlGpmSampleGet(self._device.handle, sample)
        self._taken = self._now()

    def read(self) -> Sequence[float | None]:
        """Return mean activities since the previous reading; all None if too little time passed.

        Raise NVMLError if sampling fails.
        """
        if self._now() - self._taken < SPACING:
            return NOTHING
        return [self._value(*pair) for pair in zip(ACTIVITIES, self._means(), strict=True)]

    def _value(self, activity: Activity, metric: Any) -> float | None:
        unknown = self._unavailable[activity.name] or metric.nvmlReturn != self._nvml.NVML_SUCCESS
        if unknown or math.isnan(metric.value):  # NaN: the counters were paused
            return None
        return float(metric.value) * activity.scale

    def _means(self) -> Sequence[Any]:
        """Take a sample and return NVML's mean of each metric since the previous one."""
        self._take(self._old)
        self._old, self._new = self._new, self._old
        request = self._nvml.c_nvmlGpmMetricsGet_t(
            version=self._nvml.NVML_GPM_METRICS_GET_VERSION,
            numMetrics=len(ACTIVITIES),
            sample1=self._old,
            sample2=self._new,
        )
        for index, activity in enumerate(ACTIVITIES):
            name = f"NVML_GPM_METRIC_{activity.metric}"
            request.metrics[index].metricId = getattr(self._nvml, name)
        self._nvml.nvmlGpmMetricsGet(request)
        metrics: Sequence[Any] = request.metrics[: len(ACTIVITIES)]
        return metrics

    def close(self) -> None:
        """Free the memory of the GPM samples."""
        for sample in (self._old, self._new):
            self._nvml.nvmlGpmSampleFree(sample)


def open_gpm(
    nvml: Any,
    device: Device,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ActivityMeter:
    """Return a meter of GPM activities, or a stand-in with the reason why there are none.

    Waits 0.1 s between two test samples, because NVML's support flag is also set for vGPUs, where
    sampling fails.
    """
    try:
        if not nvml.nvmlGpmQueryDeviceSupport(device.card).isSupportedDevice:
            return NoGpm(NO_GPM)
        gpm = Gpm(nvml, device, now)
    except nvml.NVMLError as error:
        return NoGpm(f"NVML: {error}")
    return _probed(nvml, gpm, sleep)


def _probed(nvml: Any, gpm: Gpm, sleep: Callable[[float], None]) -> ActivityMeter:
    try:
        gpm.probe(sleep)
    except nvml.NVMLError as error:
        gpm.close()
        return NoGpm(f"{NO_METRICS}{error}")
    return gpm
