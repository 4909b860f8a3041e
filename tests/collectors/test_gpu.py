"""What NVML says becomes series, facts and caveats; a simulated NVML makes it exact."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmbench.collectors.gpu import GpuProbe, NoGpuProbe, visible_devices

UUIDS = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]


class NvmlError(Exception):
    pass


class SimulatedNvml:
    """The part of NVML that llmbench asks, with known answers; handles are indices."""

    NVMLError = NvmlError
    NVML_SUCCESS = 0
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_FI_DEV_PERF_POLICY_POWER, NVML_FI_DEV_PERF_POLICY_THERMAL = 74, 75
    NVML_VALUE_TYPE_DOUBLE, NVML_VALUE_TYPE_UNSIGNED_INT = 0, 1
    NVML_VALUE_TYPE_UNSIGNED_LONG, NVML_VALUE_TYPE_UNSIGNED_LONG_LONG = 2, 3
    NVML_VALUE_TYPE_SIGNED_LONG_LONG, NVML_VALUE_TYPE_SIGNED_INT = 4, 5

    def __init__(self) -> None:
        self.limited_ns = {74: 0, 75: 0}
        self.pids = [1]
        self.has_instant_power = True
        self.lost = False

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 (NVML's name)
        return len(UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 (NVML's name)
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802 (NVML's name)
        return UUIDS[handle]

    def nvmlDeviceGetName(self, _: int) -> str:  # noqa: N802 (NVML's name)
        return "Simulated"

    def nvmlDeviceGetUtilizationRates(self, _: int) -> Any:  # noqa: N802 (NVML's name)
        if self.lost:
            raise NvmlError("GPU is lost")
        return SimpleNamespace(gpu=87)

    def nvmlDeviceGetMemoryInfo(self, _: int) -> Any:  # noqa: N802 (NVML's name)
        return SimpleNamespace(used=2**30)

    def nvmlDeviceGetPowerUsage(self, _: int) -> int:  # noqa: N802 (NVML's name)
        return 350_500

    def nvmlDeviceGetFieldValues(self, _: int, fields: list[int]) -> list[Any]:  # noqa: N802
        (field,) = fields
        if field == self.NVML_FI_DEV_POWER_INSTANT:
            value = SimpleNamespace(uiVal=401_000)
            code = 0 if self.has_instant_power else 3
            return [SimpleNamespace(nvmlReturn=code, valueType=1, value=value)]
        value = SimpleNamespace(ullVal=self.limited_ns[field])
        return [SimpleNamespace(nvmlReturn=0, valueType=3, value=value)]

    def nvmlDeviceGetClockInfo(self, _: int, kind: int) -> int:  # noqa: N802 (NVML's name)
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetTemperature(self, _: int, __: int) -> int:  # noqa: N802 (NVML's name)
        return 61

    def nvmlDeviceGetCurrentClocksEventReasons(self, _: int) -> int:  # noqa: N802 (NVML's name)
        return 4

    def nvmlDeviceGetComputeRunningProcesses(self, _: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self.pids]


def readings(probe: GpuProbe) -> dict[str, float | None]:
    return {q.name: value for q, value in zip(probe.quantities(), probe.read(), strict=True)}


def test_readings_are_in_si_units() -> None:
    assert readings(GpuProbe(SimulatedNvml(), [0], 1)) == {
        "gpu0_busy_percent": 87,
        "gpu0_memory_used_bytes": 2**30,
        "gpu0_power_watts": 350.5,
        "gpu0_power_instant_watts": 401.0,
        "gpu0_sm_clock_hertz": 1.98e9,
        "gpu0_memory_clock_hertz": 2.619e9,
        "gpu0_temperature_celsius": 61,
        "gpu0_throttle_reasons": 4,
    }


def test_what_a_card_does_not_tell_is_unavailable_with_nvmls_words() -> None:
    nvml = SimulatedNvml()
    nvml.has_instant_power = False
    probe = GpuProbe(nvml, [0], 1)
    reasons = {q.name: q.unavailable for q in probe.quantities()}
    assert reasons["gpu0_power_instant_watts"] == "NVML: 3"
    assert readings(probe)["gpu0_power_instant_watts"] is None


def test_a_reading_that_fails_later_is_none_and_not_zero() -> None:
    nvml = SimulatedNvml()
    probe = GpuProbe(nvml, [0], 1)
    nvml.lost = True
    assert readings(probe)["gpu0_busy_percent"] is None


def test_limits_are_the_difference_of_the_counters_over_the_window() -> None:
    nvml = SimulatedNvml()
    nvml.limited_ns[74] = 5_000_000_000
    probe = GpuProbe(nvml, [0], 1)
    nvml.limited_ns[74] += 1_500_000_000
    conclusion = probe.conclude()
    assert conclusion.facts["gpus"][0]["limited_seconds"] == {"power": 1.5, "thermal": 0.0}
    assert [caveat.kind for caveat in conclusion.caveats] == ["gpu-throttled"]
    assert "power for 1.50 s" in conclusion.caveats[0].message


def test_a_card_that_was_not_limited_has_no_caveat() -> None:
    assert GpuProbe(SimulatedNvml(), [0], 1).conclude().caveats == ()


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_another_process_on_the_gpu_at_either_edge_is_a_caveat(edge: str) -> None:
    nvml = SimulatedNvml()
    nvml.pids = [1, 99] if edge == "begin" else [1]
    probe = GpuProbe(nvml, [0], 1)
    nvml.pids = [1, 99] if edge == "end" else [1]
    assert [caveat.kind for caveat in probe.conclude().caveats] == ["gpu-shared"]


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        ("GPU-aabb-2", [1]),
        ("GPU-cc", [2]),
        ("GPU-aa", []),
        ("1,-1,0", [1]),
        ("", []),
    ],
)
def test_devices_are_those_that_cuda_shows_in_its_order(
    visible: str | None, devices: list[int]
) -> None:
    assert visible_devices(SimulatedNvml(), visible) == devices


def test_without_a_gpu_every_quantity_has_the_reason() -> None:
    probe = NoGpuProbe("no driver")
    assert {q.unavailable for q in probe.quantities()} == {"no driver"}
    assert set(probe.read()) == {None}
