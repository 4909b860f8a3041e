"""One GPU, and what has been seen of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from llmbench.collectors.base import Quantity
from llmbench.collectors.gpu import readings
from llmbench.collectors.gpu.devices import Device
from llmbench.collectors.gpu.gpm import ACTIVITIES, Sampled
from llmbench.collectors.gpu.readings import OF_CARD, READINGS, Reading
from llmbench.environment.nvml import virtualization

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loss:
    """When a card fell off the bus, in seconds since the window began, and NVML's words."""

    after_seconds: float
    why: str


class Watched:
    """Reads one device; once it is lost it is not asked again."""

    def __init__(
        self,
        nvml: Any,
        device: Device,
        gpm: Sampled,
        is_here: Callable[[int], bool],
        now: Callable[[], float],
    ) -> None:
        self._nvml = nvml
        self._device = device
        self._gpm = gpm
        self._is_here = is_here
        self._now = now
        self._gone = {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED}
        self._unavailable = {reading.name: self._why_not(reading) for reading in READINGS}
        self._failed: Counter[tuple[str, str]] = Counter()
        self._masks: Counter[int] = Counter()
        self._lost: Loss | None = None

    def _why_not(self, reading: Reading) -> str | None:
        if reading.of_card and self._device.is_instance:
            return OF_CARD
        try:
            reading.ask(self._nvml, self._device.handle)
        except self._nvml.NVMLError as error:
            return f"NVML: {error}"
        return None

    def quantities(self) -> Iterator[Quantity]:
        """List the readings, then the activities."""
        prefix = f"gpu{self._device.index}"
        for reading in READINGS:
            name = f"{prefix}_{reading.name}"
            yield Quantity(name, reading.unit, self._unavailable[reading.name])
        yield from self._gpm.quantities(prefix)

    def begin(self, own: frozenset[int]) -> None:
        """Note where counters stand and who else is there; ``own`` are the ids of our processes."""
        self._began = self._now()
        self._settings = {
            "virtualization": self._known(lambda: virtualization(self._nvml, self._device.card)),
            "power_limit_watts": self._known(self._power_limit_watts),
        }
        self._limited = readings.limit_seconds(self._nvml, self._device.handle)
        self._others = self._count_others(own)
        self._try("gpm", self._gpm.begin)

    def read(self) -> Iterator[float | None]:
        """Read every quantity once."""
        for reading in READINGS:
            yield None if self._unavailable[reading.name] else self._read(reading)
        yield from self._try("gpm", self._gpm.read) or (None,) * len(ACTIVITIES)

    def _read(self, reading: Reading) -> float | None:
        value = self._try(reading.name, lambda: reading.ask(self._nvml, self._device.handle))
        if reading.name == "throttle_reasons" and value is not None:
            self._masks[int(value)] += 1
        return None if value is None else float(value)

    def _try(self, name: str, ask: Callable[[], T]) -> T | None:
        """Ask, unless the device is lost; count what fails."""
        if self._lost:
            return None
        try:
            return ask()
        except self._nvml.NVMLError as error:
            self._note(name, error)
            return None

    def _note(self, name: str, error: Any) -> None:
        why = f"NVML: {error}"
        if error.value in self._gone:
            self._lost = Loss(self._now() - self._began, why)
        else:
            self._failed[name, why] += 1

    def _known(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except self._nvml.NVMLError:
            return None

    def _power_limit_watts(self) -> float:
        return float(self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._device.card)) / 1e3

    def _count_others(self, own: frozenset[int]) -> int | None:
        # The version is named, since without it a driver that is too old raises no NVMLError.
        ask = self._nvml.nvmlDeviceGetComputeRunningProcesses_v3
        running = self._known(lambda: ask(self._device.handle))
        if running is None:
            return None
        listed = frozenset(process.pid for process in running)
        return readings.others(listed, own, self._is_here)

    def conclude(self, own: frozenset[int]) -> dict[str, Any]:
        """Give back what was held, and sum up."""
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
            "lost": asdict(self._lost) if self._lost else None,
            "failed_readings": [
                {"quantity": name, "why": why, "count": count}
                for (name, why), count in self._failed.items()
            ],
        }
