"""The stand-in for NVIDIA's driver returns its cards' values through the real binding."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import MakeStandin, Standin, StandinGpu, StandinInstance

BURST = [(0.0, 60.0), (1.0, 400.0), (1.5, 60.0)]


def card(index: int = 0) -> Any:
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def counted_joules(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


def field(handle: Any, number: int) -> Any:
    return pynvml.nvmlDeviceGetFieldValues(handle, [number])[0]


def test_the_counter_is_the_integral_of_the_power(standin: MakeStandin) -> None:
    driver, handle = standin([StandinGpu(BURST)]), card()
    before = counted_joules(handle)
    driver.advance(2.0)
    assert counted_joules(handle) - before == driver.true_joules(0, 0, 2) == 60 + 200 + 30
    assert field(handle, pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION).value.ullVal == 5_290_000


def test_the_counter_has_its_lag_period_and_gain(standin: MakeStandin) -> None:
    driver, handle = standin([StandinGpu(counter_period=0.1, lag=0.05, gain=1.1)]), card()
    seen = []
    for _ in range(6):
        driver.advance(0.05)
        seen.append(round(counted_joules(handle) - 5000, 3))
    assert seen == [0.0, 0.0, 6.6, 6.6, 13.2, 13.2]


def test_a_counter_restarts_at_zero(standin: MakeStandin) -> None:
    driver, handle = standin([StandinGpu(reset_at=1.0)]), card()
    driver.advance(0.5)
    assert counted_joules(handle) == 5030
    driver.advance(1.0)
    assert counted_joules(handle) == 30


def test_power_usage_is_the_mean_of_a_second_and_instant_power_is_of_now(
    standin: MakeStandin,
) -> None:
    driver, handle = standin([StandinGpu(BURST)]), card()
    driver.advance(1.25)
    assert pynvml.nvmlDeviceGetPowerUsage(handle) == 1e3 * (0.75 * 60 + 0.25 * 400)
    assert field(handle, pynvml.NVML_FI_DEV_POWER_AVERAGE).value.uiVal == 145_000
    assert field(handle, pynvml.NVML_FI_DEV_POWER_INSTANT).value.uiVal == 400_000


def test_instant_power_may_have_a_lag(standin: MakeStandin) -> None:
    driver, handle = standin([StandinGpu(BURST, instant_period=0.1, instant_lag=0.1)]), card()
    driver.advance(1.09)
    assert field(handle, pynvml.NVML_FI_DEV_POWER_INSTANT).value.uiVal == 60_000
    driver.advance(0.02)
    assert field(handle, pynvml.NVML_FI_DEV_POWER_INSTANT).value.uiVal == 400_000


def test_above_its_cap_a_card_counts_throttling(standin: MakeStandin) -> None:
    driver, handle = standin([StandinGpu(BURST, cap_watts=300)]), card()
    driver.advance(1.25)
    assert pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle) == 0x4
    driver.advance(0.75)
    assert pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle) == 0
    assert field(handle, pynvml.NVML_FI_DEV_PERF_POLICY_POWER).value.ullVal == 500_000_000


def test_a_function_that_is_missing_is_not_found(standin: MakeStandin) -> None:
    standin(missing=["nvmlDeviceGetPowerUsage"])
    with pytest.raises(pynvml.NVMLError_FunctionNotFound):
        pynvml.nvmlDeviceGetPowerUsage(card())


def test_functions_and_fields_fail_with_the_given_error(standin: MakeStandin) -> None:
    faults = {"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NOT_SUPPORTED, "field 186": 3}
    standin([StandinGpu(faults=faults)])
    handle = card()
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetPowerUsage(handle)
    assert field(handle, 186).nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert field(handle, 185).nvmlReturn == pynvml.NVML_SUCCESS


def test_a_lost_card_fails_and_the_others_go_on(standin: MakeStandin) -> None:
    cards = [StandinGpu(lost_from=1.0), StandinGpu(uuid="GPU-b")]
    driver, lost, other = standin(cards), card(0), card(1)
    assert pynvml.nvmlDeviceGetPowerUsage(lost) == 60_000
    driver.advance(1.0)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetPowerUsage(lost)
    assert pynvml.nvmlDeviceGetPowerUsage(other) == 60_000


def test_changes_apply_to_existing_handles(standin: MakeStandin) -> None:
    driver, handle = standin(), card()
    driver.devices[0].pids = (17, 18)
    driver.apply()
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    assert [process.pid for process in running] == [17, 18]


def test_instances_are_found_on_their_card(standin: MakeStandin) -> None:
    instance = StandinInstance("MIG-1", slot=3, gpu_instance=5)
    standin([StandinGpu(mig=True, instances=[instance])])
    split = card()
    instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(split, 3)
    assert pynvml.nvmlDeviceGetUUID(instance) == "MIG-1"
    assert pynvml.nvmlDeviceGetGpuInstanceId(instance) == 5
    above = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)
    assert pynvml.nvmlDeviceGetUUID(above) == "GPU-aaaa-1"


def measured(driver: Standin, handle: Any, seconds: float, *metrics: int) -> list[Any]:
    samples = [pynvml.nvmlGpmSampleAlloc() for _ in range(2)]
    pynvml.nvmlGpmSampleGet(handle, samples[0])
    driver.advance(seconds)
    pynvml.nvmlGpmSampleGet(handle, samples[1])
    asked = pynvml.c_nvmlGpmMetricsGet_t(1, len(metrics), *samples)
    for place, number in enumerate(metrics):
        asked.metrics[place].metricId = number
    try:
        pynvml.nvmlGpmMetricsGet(asked)
    finally:
        for sample in samples:
            pynvml.nvmlGpmSampleFree(sample)
    return [asked.metrics[place] for place in range(len(metrics))]


def test_activity_is_the_mean_between_two_samples(standin: MakeStandin) -> None:
    driver = standin([StandinGpu([(0, 0), (1, 350)], activity={2: 100.0, 10: math.nan})])
    sm, dram, tensor = measured(driver, card(), 2.0, 2, 10, 5)
    assert (sm.nvmlReturn, sm.value) == (pynvml.NVML_SUCCESS, 25.0)
    assert math.isnan(dram.value)
    assert tensor.nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert driver.open_samples == 0


def test_samples_that_are_too_close_are_refused(standin: MakeStandin) -> None:
    driver = standin()
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        measured(driver, card(), 0.1, 2)


def test_other_processes_load_it_by_its_name_and_see_real_time(standin: MakeStandin) -> None:
    driver = standin([StandinGpu([(0, 60), (3600, 400)])])
    script = (
        "import pynvml; pynvml.nvmlInit()\n"
        "print(pynvml.nvmlDeviceGetPowerUsage(pynvml.nvmlDeviceGetHandleByIndex(0)))"
    )
    variables = {**os.environ, **driver.environment()}
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout == "60000\n"


def test_without_a_file_there_is_no_driver(
    standin: MakeStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin()
    monkeypatch.delenv("STANDIN_NVML")
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()


PIECES = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 700)), min_size=1).map(
    lambda pieces: sorted(dict(pieces).items())
)


@given(PIECES, *(st.floats(0, 12) for _ in range(3)))
def test_true_joules_add_up_over_adjacent_windows(
    pieces: list[tuple[float, float]], a: float, b: float, c: float
) -> None:
    gpu = StandinGpu(pieces)
    parts = (gpu.joules(b) - gpu.joules(a)) + (gpu.joules(c) - gpu.joules(b))
    assert parts == pytest.approx(gpu.joules(c) - gpu.joules(a), abs=1e-6)
