"""How much of a GPU is at work, through NVML's GPM (GPU performance monitoring), from Hopper on.

Each value is a mean between two samples. Names and units: nvmlGpmMetricId_t of nvml.h.
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

SPACING = 0.11  # seconds; two samples have to be more than 100 ms apart

MEBIBYTE = 2.0**20

NO_GPM = "this card has no GPM counters; NVIDIA's GPUs have them from Hopper on"
NO_METRICS = "NVML says that the card has GPM counters, but two samples of them gave: "


@dataclass(frozen=True, slots=True)
class Activity:
    """One quantity of GPM: ours, the name of NVML's constant, and NVML's unit in ours.

    ``of_card`` marks what a MIG instance shares with its card and cannot claim for itself.
    """

    name: str
    unit: str
    metric: str
    _: KW_ONLY
    scale: float = 1.0
    of_card: bool = False


ACTIVITIES = (
    Activity("sm_active_percent", "% of SMs", "NVML_GPM_METRIC_SM_UTIL"),
    Activity("tensor_active_percent", "% of time", "NVML_GPM_METRIC_ANY_TENSOR_UTIL"),
    Activity("dram_active_percent", "% of bandwidth", "NVML_GPM_METRIC_DRAM_BW_UTIL"),
    Activity(
        "pcie_rx_bytes_per_second",
        "B/s",
        "NVML_GPM_METRIC_PCIE_RX_PER_SEC",
        scale=MEBIBYTE,
        of_card=True,
    ),
    Activity(
        "pcie_tx_bytes_per_second",
        "B/s",
        "NVML_GPM_METRIC_PCIE_TX_PER_SEC",
        scale=MEBIBYTE,
        of_card=True,
    ),
)

NOTHING: Sequence[float | None] = (None,) * len(ACTIVITIES)


class Sampled(Protocol):
    """The activities of one device, or what stands in for them."""

    def quantities(self, prefix: str) -> Iterator[Quantity]:
        """List the activities in order."""

    def begin(self) -> None:
        """Take the sample from which the first means count. Raises NVMLError."""

    def read(self) -> Sequence[float | None]:
        """Give the means since the last values; None while too little time has passed."""

    def close(self) -> None:
        """Give the samples back."""


class NoGpm:
    """Stands in where there are no activities, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def quantities(self, prefix: str) -> Iterator[Quantity]:
        """List the activities, each with the reason why it is not known."""
        return (Quantity(f"{prefix}_{each.name}", each.unit, self._why) for each in ACTIVITIES)

    def begin(self) -> None:
        """Take nothing."""

    def read(self) -> Sequence[float | None]:
        """Read nothing."""
        return NOTHING

    def close(self) -> None:
        """Give nothing back."""


class Gpm:
    """Two samples of one device, taken in turns."""

    def __init__(self, nvml: Any, device: Device, now: Callable[[], float]) -> None:
        self._nvml = nvml
        self._device = device
        self._now = now
        self._old, self._new = nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()
        self._unavailable: dict[str, str | None] = {}

    def probe(self, sleep: Callable[[float], None]) -> None:
        """Find out by two samples which activities there are. Raises NVMLError where none is."""
        self.begin()
        sleep(SPACING)
        for activity, metric in zip(ACTIVITIES, self._means(), strict=True):
            self._unavailable[activity.name] = self._why_not(activity, metric.nvmlReturn)

    def _why_not(self, activity: Activity, code: int) -> str | None:
        if activity.of_card and self._device.is_instance:
            return OF_CARD
        return None if code == self._nvml.NVML_SUCCESS else f"NVML: {self._nvml.NVMLError(code)}"

    def quantities(self, prefix: str) -> Iterator[Quantity]:
        """List the activities; what the probe did not find has NVML's words."""
        for each in ACTIVITIES:
            yield Quantity(f"{prefix}_{each.name}", each.unit, self._unavailable[each.name])

    def begin(self) -> None:
        """Take the sample from which the first means count. Raises NVMLError."""
        self._take(self._new)

    def _take(self, sample: Any) -> None:
        if self._device.is_instance:
            # The card is asked: with an instance's own handle, drivers have answered wrongly.
            number = self._nvml.nvmlDeviceGetGpuInstanceId(self._device.handle)
            self._nvml.nvmlGpmMigSampleGet(self._device.card, number, sample)
        else:
            self._nvml.nvmlGpmSampleGet(self._device.handle, sample)
        self._taken = self._now()

    def read(self) -> Sequence[float | None]:
        """Give the means since the last values; None while too little time has passed.

        Raises NVMLError where no sample is to be had.
        """
        if self._now() - self._taken < SPACING:
            return NOTHING
        return [self._value(*pair) for pair in zip(ACTIVITIES, self._means(), strict=True)]

    def _value(self, activity: Activity, metric: Any) -> float | None:
        unknown = self._unavailable[activity.name] or metric.nvmlReturn != self._nvml.NVML_SUCCESS
        if unknown or math.isnan(metric.value):  # NaN: the counters did not run in between
            return None
        return float(metric.value) * activity.scale

    def _means(self) -> Sequence[Any]:
        """Take a sample, and give NVML's metrics between the one before and it."""
        self._take(self._old)
        self._old, self._new = self._new, self._old
        asked = self._nvml.c_nvmlGpmMetricsGet_t(
            version=self._nvml.NVML_GPM_METRICS_GET_VERSION,
            numMetrics=len(ACTIVITIES),
            sample1=self._old,
            sample2=self._new,
        )
        for place, activity in enumerate(ACTIVITIES):
            asked.metrics[place].metricId = getattr(self._nvml, activity.metric)
        self._nvml.nvmlGpmMetricsGet(asked)
        found: Sequence[Any] = asked.metrics[: len(ACTIVITIES)]
        return found

    def close(self) -> None:
        """Give the samples back."""
        for sample in (self._old, self._new):
            self._nvml.nvmlGpmSampleFree(sample)


def open_gpm(
    nvml: Any,
    device: Device,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sampled:
    """Open the activities of a device, or say why there are none; takes a tenth of a second.

    What NVML says of a card's support is not enough: of vGPUs it says yes, and no sample is good.
    """
    try:
        if not nvml.nvmlGpmQueryDeviceSupport(device.card).isSupportedDevice:
            return NoGpm(NO_GPM)
        gpm = Gpm(nvml, device, now)
    except nvml.NVMLError as error:
        return NoGpm(f"NVML: {error}")
    return _probed(nvml, gpm, sleep)


def _probed(nvml: Any, gpm: Gpm, sleep: Callable[[float], None]) -> Sampled:
    try:
        gpm.probe(sleep)
    except nvml.NVMLError as error:
        gpm.close()
        return NoGpm(f"{NO_METRICS}{error}")
    return gpm
