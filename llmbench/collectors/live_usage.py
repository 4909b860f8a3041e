"""Current CPU and GPU use for the progress display; nothing is stored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from llmbench.collectors.gpu.devices import Device, visible_devices
from llmbench.collectors.gpu.readings import READINGS
from llmbench.environment.nvml import open_nvml
from llmbench.errors import Unavailable
from llmbench.units import format_bytes

READ_SECONDS = 1.0
FORMATS: dict[str, Callable[[float], str]] = {
    "busy_percent": "{:.0f} %".format,
    "power_average_watts": "{:.0f} W".format,
    "memory_used_bytes": format_bytes,
}


class LiveUsage:
    """CPU and GPU use as one line, read at most once per second."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._nvml, self._devices = _gpus()
        psutil.cpu_percent()  # values cover the time since the previous call
        self._read_at = now()
        self._text = ""

    def __str__(self) -> str:
        """Return CPU and GPU use as one line, empty before the first reading."""
        if self._now() - self._read_at >= READ_SECONDS:
            self._read_at = self._now()
            self._text = "; ".join((f"CPU {psutil.cpu_percent():.0f} %", *self._of_gpus()))
        return self._text

    def _of_gpus(self) -> Iterator[str]:
        for device in self._devices:
            values = ", ".join(_readings(self._nvml, device))
            yield f"GPU {device.index} {values or 'unavailable'}"


def _gpus() -> tuple[Any, list[Device]]:
    """Return NVML and the visible GPUs, or (None, []); the run's collector reports the reason."""
    try:
        nvml = open_nvml()
    except Unavailable:
        return None, []
    try:
        return nvml, visible_devices(nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except nvml.NVMLError:  # a lost GPU has no handle
        return None, []


def _readings(nvml: Any, device: Device) -> Iterator[str]:
    for reading in READINGS:
        if reading.name not in FORMATS or (reading.of_card and device.is_instance):
            continue
        try:
            yield FORMATS[reading.name](float(reading.ask(nvml, device.handle)))
        except nvml.NVMLError:  # not supported by this GPU
            continue
