"""How busy the machine is right now, for people who wait for a run; nothing of it is kept."""

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
SHOWN: dict[str, Callable[[float], str]] = {
    "busy_percent": "{:.0f} %".format,
    "power_average_watts": "{:.0f} W".format,
    "memory_used_bytes": format_bytes,
}


class Glance:
    """Processors and GPUs in a few words, read when asked and once a second at the most."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._nvml, self._devices = _gpus()
        psutil.cpu_percent()  # what it gives is of the time since it was asked before
        self._read_at = now()
        self._told = ""

    def __str__(self) -> str:
        """Say how busy they are; nothing before there is a first reading."""
        if self._now() - self._read_at >= READ_SECONDS:
            self._read_at = self._now()
            self._told = "; ".join((f"CPU {psutil.cpu_percent():.0f} %", *self._of_gpus()))
        return self._told

    def _of_gpus(self) -> Iterator[str]:
        for device in self._devices:
            told = ", ".join(_readings(self._nvml, device))
            yield f"GPU {device.index} {told or 'tells nothing'}"


def _gpus() -> tuple[Any, list[Device]]:
    """Open what can be read; of the rest the run's own collector says why it cannot."""
    try:
        nvml = open_nvml()
    except Unavailable:
        return None, []
    try:
        return nvml, visible_devices(nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except nvml.NVMLError:  # a card that is lost has no handle
        return None, []


def _readings(nvml: Any, device: Device) -> Iterator[str]:
    for reading in READINGS:
        if reading.name not in SHOWN or (reading.of_card and device.is_instance):
            continue
        try:
            yield SHOWN[reading.name](float(reading.ask(nvml, device.handle)))
        except nvml.NVMLError:  # this card does not tell
            continue
