"""The part of NVML that llmbench asks, with known answers; handles are names of devices."""

# ruff: noqa: N802 (functions have NVML's names)
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


class NvmlError(Exception):
    pass


class SimulatedNvml:
    """Cards are UUIDs; ``instances`` gives the MIG instances of a card that is split."""

    NVMLError = NvmlError
    NVML_SUCCESS = 0
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_FI_DEV_PERF_POLICY_POWER = 74
    NVML_FI_DEV_PERF_POLICY_THERMAL = 75
    NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT = 77
    # the counters 269 to 271 are missing, as they are in older versions of the module

    def __init__(
        self,
        cards: tuple[str, ...] = ("GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"),
        models: tuple[str, ...] = ("Simulated",) * 3,
        instances: dict[str, list[str]] | None = None,
    ) -> None:
        self.cards = cards
        self.models = dict(zip(cards, models, strict=True))
        self.instances = instances or {}
        self.limited_ns = {74: 0, 75: 0, 77: 0}
        self.pids = [1]
        self.mask = 0
        self.unsupported: set[str] = set()

    def _answer(self, question: str, value: Any) -> Any:
        if question in self.unsupported:
            raise NvmlError("Not Supported")
        return value

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in [name for names in self.instances.values() for name in names]:
            raise NvmlError("Not Found")
        return uuid

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return handle

    def nvmlDeviceGetName(self, handle: str) -> str:
        return self.models.get(handle, "Simulated MIG 1g.10gb")

    def nvmlDeviceIsMigDeviceHandle(self, handle: str) -> bool:
        return handle.startswith("MIG-")

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:
        return self._answer("mig", [int(handle in self.instances)] * 2)  # type: ignore[no-any-return]

    def nvmlDeviceGetMaxMigDeviceCount(self, _: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: str, number: int) -> str:
        gap = 2  # instances are rarely numbered from 0
        if not gap <= number < gap + len(self.instances[card]):
            raise NvmlError("Not Found")
        return self.instances[card][number - gap]

    def nvmlDeviceGetUtilizationRates(self, _: str) -> Any:
        return self._answer("busy", SimpleNamespace(gpu=87))

    def nvmlDeviceGetMemoryInfo(self, _: str) -> Any:
        return SimpleNamespace(used=2**30, total=80 * 2**30)

    def nvmlDeviceGetPowerUsage(self, _: str) -> int:
        return 350_500

    def nvmlDeviceGetFieldValues(self, _: str, fields: list[int]) -> list[Any]:
        (field,) = fields
        if field == self.NVML_FI_DEV_POWER_INSTANT:
            value = SimpleNamespace(uiVal=401_000)
            code = 3 if "instant power" in self.unsupported else 0
            return [SimpleNamespace(nvmlReturn=code, valueType=1, value=value)]
        code = 3 if "limits" in self.unsupported else 0
        value = SimpleNamespace(ullVal=self.limited_ns[field])
        return [SimpleNamespace(nvmlReturn=code, valueType=3, value=value)]

    def nvmlDeviceGetClockInfo(self, _: str, kind: int) -> int:
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetTemperature(self, _: str, __: int) -> int:
        return 61

    def nvmlDeviceGetCurrentClocksEventReasons(self, _: str) -> int:
        return self.mask

    def nvmlDeviceGetComputeRunningProcesses(self, _: str) -> list[Any]:
        running = [SimpleNamespace(pid=pid) for pid in self.pids]
        return self._answer("processes", running)  # type: ignore[no-any-return]


@pytest.fixture
def simulated() -> type[SimulatedNvml]:
    return SimulatedNvml


@pytest.fixture
def nvml() -> SimulatedNvml:
    return SimulatedNvml()
