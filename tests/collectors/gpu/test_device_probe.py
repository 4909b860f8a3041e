"""Readings of one GPU, through the real binding and a stand-in driver."""

from __future__ import annotations

import pynvml
import pytest
from standin import StandinGpu, StandinInstance
from watching import MakeWatch

from llmbench.collectors.gpu.readings import OF_CARD

NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED


def test_readings_are_in_si_units(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu([(0, 60), (0.5, 400)], cap_watts=300))
    watch.driver.advance(1.0 - watch.driver.time())
    readings = watch.readings()
    activities = {name for name in readings if "active" in name or "pcie" in name}
    assert {name: value for name, value in readings.items() if name not in activities} == {
        "gpu0_busy_percent": 87,
        "gpu0_memory_used_bytes": 2**30,
        "gpu0_power_average_watts": 230.0,
        "gpu0_power_instant_watts": 400.0,
        "gpu0_sm_clock_hertz": 1.98e9,
        "gpu0_memory_clock_hertz": 2.619e9,
        "gpu0_temperature_celsius": 61,
        "gpu0_throttle_reasons": 4,
    }


def test_an_unsupported_reading_has_nvmls_message_as_its_reason(watch_gpus: MakeWatch) -> None:
    faults = {"nvmlDeviceGetUtilizationRates": NOT_SUPPORTED, "field 185": NOT_SUPPORTED}
    watch = watch_gpus(StandinGpu(faults=faults))
    assert watch.reasons()["gpu0_busy_percent"] == "NVML: Not Supported"
    assert watch.reasons()["gpu0_power_average_watts"] == "NVML: Not Supported"
    assert watch.reasons()["gpu0_power_instant_watts"] is None
    assert watch.readings()["gpu0_busy_percent"] is None


def test_what_an_old_driver_lacks_is_unavailable(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(missing=["nvmlDeviceGetCurrentClocksEventReasons"])
    assert watch.reasons()["gpu0_throttle_reasons"] == "NVML: Function Not Found"


def test_a_reading_that_fails_later_is_none_and_its_reason_is_kept(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus()
    watch.change(faults={"nvmlDeviceGetUtilizationRates": NOT_SUPPORTED})
    assert watch.readings()["gpu0_busy_percent"] is None
    assert watch.facts()["failed_readings"] == [
        {"quantity": "busy_percent", "why": "NVML: Not Supported", "count": 1}
    ]


def test_an_instance_of_a_split_card_has_no_power_of_its_own(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu(mig=True, instances=[StandinInstance("MIG-x")]))
    for name in ("power_average_watts", "power_instant_watts", "pcie_rx_bytes_per_second"):
        assert watch.reasons()[f"gpu0_{name}"] == OF_CARD
        assert watch.readings()[f"gpu0_{name}"] is None
    assert watch.readings()["gpu0_memory_used_bytes"] == 2**30


def test_limits_are_the_difference_of_the_counters_over_the_window(watch_gpus: MakeWatch) -> None:
    fields = {75: ("ulonglong", 5e9), 77: ("ulonglong", 0)}
    watch = watch_gpus(
        StandinGpu([(0, 60), (1, 400), (2.5, 60)], cap_watts=300, field_values=fields)
    )
    watch.driver.advance(4.0)
    watch.change(field_values={**fields, 75: ("ulonglong", 5.25e9)})
    assert watch.facts()["limited_seconds"] == {
        "power": 1.5,
        "thermal": 0.25,
        "sync_boost": None,
        "board": 0.0,
    }


def test_a_limit_whose_counter_was_reset_is_unknown(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu(field_values={75: ("ulonglong", 5e9)}))
    watch.change(field_values={75: ("ulonglong", 1e9)})
    assert watch.facts()["limited_seconds"]["thermal"] is None


def test_throttle_reasons_are_shares_of_the_readings(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus()
    for reasons in (0, 0x40, 0x40, 0x1 | 0x2 | 0x100):
        watch.change(reasons=reasons)
        watch.readings()
    assert watch.facts()["throttle_reasons"] == {"hardware_thermal": 0.5}


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_another_process_at_either_edge_is_counted(watch_gpus: MakeWatch, edge: str) -> None:
    watch = watch_gpus(StandinGpu(pids=(1, 99) if edge == "begin" else (1,)))
    watch.change(pids=(1, 99) if edge == "end" else (1,))
    assert watch.facts()["other_processes"] == 1


def test_other_processes_are_unknown_where_nvml_does_not_list_them(watch_gpus: MakeWatch) -> None:
    function = "nvmlDeviceGetComputeRunningProcesses_v3"
    denied = watch_gpus(StandinGpu(faults={function: pynvml.NVML_ERROR_NO_PERMISSION}))
    assert denied.facts()["other_processes"] is None
    assert watch_gpus(missing=[function]).facts()["other_processes"] is None


def test_the_power_limit_and_the_virtualization_are_facts(watch_gpus: MakeWatch) -> None:
    facts = watch_gpus(StandinGpu(cap_watts=650, virtualization=1)).facts()
    assert (facts["power_limit_watts"], facts["virtualization"]) == (650.0, "passthrough")


def test_an_instance_has_the_settings_of_its_card(watch_gpus: MakeWatch) -> None:
    instances = [StandinInstance("MIG-x")]
    card = StandinGpu(cap_watts=650, virtualization=1, mig=True, instances=instances)
    facts = watch_gpus(card).facts()
    assert (facts["power_limit_watts"], facts["virtualization"]) == (650.0, "passthrough")


def test_activities_count_from_the_beginning_of_the_window(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu([(0, 0), (1, 700)]))
    watch.driver.advance(2.0)
    watch.probe.begin()
    watch.driver.advance(1.0)
    assert watch.readings()["gpu0_sm_active_percent"] == 100.0


def test_an_unavailable_power_limit_is_null(watch_gpus: MakeWatch) -> None:
    faults = {"nvmlDeviceGetEnforcedPowerLimit": NOT_SUPPORTED}
    assert watch_gpus(StandinGpu(faults=faults)).facts()["power_limit_watts"] is None


def test_a_lost_gpu_has_no_more_readings_and_the_others_go_on(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu(lost_from=3.0), StandinGpu(uuid="GPU-b"))
    watch.driver.advance(3.0)
    readings = watch.readings()
    assert {value for name, value in readings.items() if name.startswith("gpu0")} == {None}
    assert readings["gpu1_busy_percent"] == 87
    lost, other = watch.conclude().facts["gpus"]
    assert lost["lost"] == {"after_seconds": pytest.approx(3.0), "why": "NVML: GPU is lost"}
    assert (lost["limited_seconds"]["power"], other["lost"]) == (None, None)


def test_a_gpu_that_comes_back_after_it_was_lost_is_not_read_again(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu(faults={"*": (pynvml.NVML_ERROR_RESET_REQUIRED, 1.0)}))
    watch.driver.advance(1.0)
    watch.readings()
    watch.change(faults={})
    assert set(watch.readings().values()) == {None}


def test_samples_are_freed_at_the_end(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus()
    assert watch.driver.open_samples == 2
    watch.conclude()
    assert watch.driver.open_samples == 0
