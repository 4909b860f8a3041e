"""Activities of a GPU: means between two samples."""

from __future__ import annotations

import math
from typing import Any

import pynvml
import pytest
from standin import MakeStandin, Standin, StandinGpu, StandinInstance

from llmbench.collectors.gpu.devices import visible_devices
from llmbench.collectors.gpu.gpm import NO_GPM, NO_METRICS, SPACING, ActivityMeter, open_gpm
from llmbench.environment.nvml import open_nvml

NAMES = ("sm_active", "tensor_active", "dram_active", "pcie_rx", "pcie_tx")


def opened(driver: Standin) -> ActivityMeter:
    nvml = open_nvml()
    (device,) = visible_devices(nvml, None)
    return open_gpm(nvml, device, driver.time, driver.advance)


def reasons(gpm: ActivityMeter) -> set[str | None]:
    return {quantity.unavailable for quantity in gpm.quantities("gpu0")}


def test_activities_are_means_since_the_last_values_in_si_units(standin: MakeStandin) -> None:
    driver = standin([StandinGpu([(0, 0), (2, 700)])])
    gpm = opened(driver)
    driver.advance(1.0 - driver.time())
    gpm.begin()
    driver.advance(2.0)
    assert gpm.read() == [50.0, 25.0, 40.0, 512 * 2**20, 1024 * 2**20]
    driver.advance(2.0)
    assert gpm.read() == [100.0, 50.0, 80.0, 1024 * 2**20, 2048 * 2**20]


def test_they_are_named_after_the_gpu(standin: MakeStandin) -> None:
    names = [quantity.name for quantity in opened(standin()).quantities("gpu3")]
    assert names == [
        "gpu3_sm_active_percent",
        "gpu3_tensor_active_percent",
        "gpu3_dram_active_percent",
        "gpu3_pcie_rx_bytes_per_second",
        "gpu3_pcie_tx_bytes_per_second",
    ]


def test_samples_are_never_closer_than_nvidia_allows(standin: MakeStandin) -> None:
    driver = standin()
    gpm = opened(driver)
    gpm.begin()
    driver.advance(SPACING / 2)
    assert set(gpm.read()) == {None}
    driver.advance(SPACING / 2 + 1e-6)
    assert None not in gpm.read()


def test_a_card_without_gpm_has_the_reason(standin: MakeStandin) -> None:
    driver = standin([StandinGpu(gpm_supported=False)])
    gpm = opened(driver)
    gpm.begin()
    assert reasons(gpm) == {NO_GPM}
    assert set(gpm.read()) == {None}
    gpm.close()
    assert driver.open_samples == 0


@pytest.mark.parametrize("function", ["nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc"])
def test_a_driver_without_gpm_has_the_reason(standin: MakeStandin, function: str) -> None:
    assert reasons(opened(standin(missing=[function]))) == {"NVML: Function Not Found"}


@pytest.mark.parametrize("function", ["nvmlGpmSampleGet", "nvmlGpmMetricsGet"])
def test_support_that_is_claimed_but_fails_is_detected(standin: MakeStandin, function: str) -> None:
    driver = standin([StandinGpu(faults={function: pynvml.NVML_ERROR_UNKNOWN})])
    assert reasons(opened(driver)) == {f"{NO_METRICS}Unknown Error"}
    assert driver.open_samples == 0


def test_a_metric_that_a_card_lacks_is_unavailable_alone(standin: MakeStandin) -> None:
    driver = standin([StandinGpu([(0, 700)], activity={2: 100.0})])
    gpm = opened(driver)
    reasons = {q.name: q.unavailable for q in gpm.quantities("gpu0")}
    assert reasons["gpu0_sm_active_percent"] is None
    assert reasons["gpu0_dram_active_percent"] == "NVML: Not Supported"
    driver.advance(1.0)
    assert gpm.read() == [100.0, None, None, None, None]


def test_nan_is_none(standin: MakeStandin) -> None:
    driver = standin([StandinGpu(activity={2: math.nan, 10: 80.0})])
    gpm = opened(driver)
    driver.advance(1.0)
    sm, _, dram, *_ = gpm.read()
    assert sm is None
    assert dram is not None


def test_an_instance_has_its_own_activity_and_no_bus_of_its_own(standin: MakeStandin) -> None:
    instance = StandinInstance("MIG-1", gpu_instance=5, activity={2: 40.0, 20: 1.0, 21: 1.0})
    driver = standin([StandinGpu([(0, 700)], mig=True, instances=[instance])])
    gpm = opened(driver)
    driver.advance(1.0)
    assert gpm.read() == [40.0, None, None, None, None]


def test_a_sample_that_fails_later_raises_nvmls_error_and_the_next_counts_from_the_last_good(
    standin: MakeStandin,
) -> None:
    driver = standin([StandinGpu([(0, 0), (2, 700)])])
    gpm = opened(driver)
    driver.advance(1.0 - driver.time())
    gpm.begin()
    failing: dict[str, Any] = {"nvmlGpmSampleGet": pynvml.NVML_ERROR_UNKNOWN}
    driver.devices[0].faults = failing
    driver.apply()
    driver.advance(1.0)
    with pytest.raises(pynvml.NVMLError_Unknown):
        gpm.read()
    driver.devices[0].faults = {}
    driver.apply()
    driver.advance(1.0)
    assert gpm.read()[0] == 50.0
