"""What NVML says becomes series, facts and caveats; a simulated NVML makes it exact."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmbench.collectors import gpu
from llmbench.collectors.gpu import Gpu, GpuProbe, NoGpuProbe, UnsureOrder
from llmbench.collectors.gpu_devices import visible_devices
from llmbench.environment.reading import Missing

OWN = frozenset({1})


def begun(nvml: Any, visible: str = "0") -> GpuProbe:
    probe = GpuProbe(nvml, visible_devices(nvml, visible), lambda: OWN, is_here=lambda _: True)
    probe.begin()
    return probe


def readings(probe: GpuProbe) -> dict[str, float | None]:
    return {q.name: value for q, value in zip(probe.quantities(), probe.read(), strict=True)}


def reasons(probe: GpuProbe | NoGpuProbe) -> dict[str, str | None]:
    return {quantity.name: quantity.unavailable for quantity in probe.quantities()}


def test_readings_are_in_si_units(nvml: Any) -> None:
    nvml.mask = 4
    assert readings(begun(nvml)) == {
        "gpu0_busy_percent": 87,
        "gpu0_memory_used_bytes": 2**30,
        "gpu0_power_watts": 350.5,
        "gpu0_power_instant_watts": 401.0,
        "gpu0_sm_clock_hertz": 1.98e9,
        "gpu0_memory_clock_hertz": 2.619e9,
        "gpu0_temperature_celsius": 61,
        "gpu0_throttle_reasons": 4,
    }


def test_devices_are_numbered_as_cuda_does_whatever_their_index_in_nvml(nvml: Any) -> None:
    probe = begun(nvml, "2,0")
    probe.read()
    told = [(each["index"], each["uuid"]) for each in probe.conclude().facts["gpus"]]
    assert told == [(0, "GPU-cccc-3"), (1, "GPU-aaaa-1")]
    assert {"gpu0_busy_percent", "gpu1_busy_percent"} <= readings(probe).keys()


def test_what_a_card_does_not_tell_is_unavailable_with_nvmls_words(nvml: Any) -> None:
    nvml.unsupported = {"busy", "instant power"}
    probe = begun(nvml)
    assert reasons(probe)["gpu0_busy_percent"] == "NVML: Not Supported"
    assert reasons(probe)["gpu0_power_instant_watts"] == "NVML: 3"
    assert readings(probe)["gpu0_busy_percent"] is None


def test_a_reading_that_fails_later_is_none_and_its_reason_is_kept(nvml: Any) -> None:
    probe = begun(nvml)
    nvml.unsupported = {"busy"}
    assert readings(probe)["gpu0_busy_percent"] is None
    (told,) = probe.conclude().facts["gpus"]
    assert told["failed_readings"] == [
        {"quantity": "busy_percent", "why": "NVML: Not Supported", "count": 1}
    ]


def test_an_instance_of_a_split_card_has_no_power_of_its_own(simulated: Any) -> None:
    nvml = simulated(("GPU-a",), ("Simulated",), {"GPU-a": ["MIG-x"]})
    probe = begun(nvml)
    assert reasons(probe)["gpu0_power_watts"] == gpu.OF_CARD
    assert reasons(probe)["gpu0_power_instant_watts"] == gpu.OF_CARD
    assert readings(probe)["gpu0_power_watts"] is None
    assert readings(probe)["gpu0_memory_used_bytes"] == 2**30


def test_limits_are_the_difference_of_the_counters_over_the_window(nvml: Any) -> None:
    nvml.limited_ns[74] = 5_000_000_000
    probe = begun(nvml)
    nvml.limited_ns[74] += 1_500_000_000
    conclusion = probe.conclude()
    assert conclusion.facts["gpus"][0]["limited_seconds"] == {
        "power": 1.5,
        "thermal": 0.0,
        "board": 0.0,
        "software_thermal": None,
        "hardware_thermal": None,
        "power_brake": None,
    }
    assert [caveat.kind for caveat in conclusion.caveats] == ["gpu-throttled"]
    assert "power for 1.50 s" in conclusion.caveats[0].message


def test_without_counters_throttling_is_known_from_the_readings(nvml: Any) -> None:
    nvml.unsupported = {"limits"}
    probe = begun(nvml)
    for nvml.mask in (0, 0x40, 0x40, 0):
        list(probe.read())
    conclusion = probe.conclude()
    assert conclusion.facts["gpus"][0]["throttle_reasons"] == {"hardware_thermal": 0.5}
    assert "hardware_thermal in 50 % of readings" in conclusion.caveats[0].message


def test_an_idle_card_with_set_clocks_is_not_throttled(nvml: Any) -> None:
    nvml.mask = 0x1 | 0x2 | 0x100
    probe = begun(nvml)
    list(probe.read())
    assert probe.conclude().caveats == ()


@pytest.mark.parametrize("edge", ["begin", "end"])
def test_another_process_on_the_gpu_at_either_edge_is_a_caveat(nvml: Any, edge: str) -> None:
    nvml.pids = [1, 99] if edge == "begin" else [1]
    probe = begun(nvml)
    nvml.pids = [1, 99] if edge == "end" else [1]
    conclusion = probe.conclude()
    assert [caveat.kind for caveat in conclusion.caveats] == ["gpu-shared"]
    assert conclusion.facts["gpus"][0]["other_processes"] == 1


def test_who_else_is_on_the_gpu_is_unknown_where_nvml_does_not_tell(nvml: Any) -> None:
    nvml.unsupported = {"processes"}
    conclusion = begun(nvml).conclude()
    assert conclusion.facts["gpus"][0]["other_processes"] is None
    assert conclusion.caveats == ()


def test_an_order_that_is_not_sure_is_a_caveat_and_changes_nothing_else(nvml: Any) -> None:
    probe = UnsureOrder(begun(nvml))
    probe.begin()
    assert probe.quantities() == begun(nvml).quantities()
    assert probe.read() == begun(nvml).read()
    assert [caveat.kind for caveat in probe.conclude().caveats] == ["gpu-order"]


def test_without_a_gpu_every_quantity_has_the_reason() -> None:
    probe = NoGpuProbe("no driver")
    probe.begin()
    assert set(reasons(probe).values()) == {"no driver"}
    assert set(probe.read()) == {None}
    assert probe.conclude().facts == {"gpus": []}


def opened(monkeypatch: pytest.MonkeyPatch, nvml: Any, **variables: str) -> Any:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(gpu, "open_nvml", lambda: nvml)
    monkeypatch.setattr(gpu, "Tree", lambda _: SimpleNamespace(pids=lambda _: OWN))
    return Gpu(Gpu.Options()).probe(1)


def test_a_hidden_gpu_is_not_watched(monkeypatch: pytest.MonkeyPatch, nvml: Any) -> None:
    probe = opened(monkeypatch, nvml, CUDA_VISIBLE_DEVICES="-1")
    expected = "CUDA_VISIBLE_DEVICES='-1' names no GPU of this machine"
    assert set(reasons(probe).values()) == {expected}


def test_cards_of_several_models_counted_by_index_are_not_sure(
    monkeypatch: pytest.MonkeyPatch, simulated: Any
) -> None:
    mixed = simulated(("GPU-a", "GPU-b"), ("H100", "T4"))
    assert isinstance(opened(monkeypatch, mixed, CUDA_VISIBLE_DEVICES="0"), UnsureOrder)
    assert isinstance(opened(monkeypatch, mixed, CUDA_VISIBLE_DEVICES="GPU-b"), GpuProbe)


def test_without_a_driver_the_probe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise Missing("no NVIDIA driver: NVML Shared Library Not Found")

    monkeypatch.setattr(gpu, "open_nvml", no_driver)
    probe = Gpu(Gpu.Options()).probe(1)
    assert reasons(probe)["gpu0_power_watts"] == "no NVIDIA driver: NVML Shared Library Not Found"  # type: ignore[arg-type]
