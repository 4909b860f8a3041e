"""All GPUs: their order, their caveats, and machines without a GPU."""

from __future__ import annotations

import os
from typing import Any

import pytest
from standin import MakeStandin, StandinGpu, StandinInstance
from watching import MakeWatch, Watch

from llmbench.collectors.base import Probe
from llmbench.collectors.gpu import collector
from llmbench.collectors.gpu.collector import Gpu, GpuProbe, NoGpuProbe, UncertainOrder
from llmbench.errors import Unavailable
from llmbench.runs.caveats import Caveat


def reasons(probe: Probe) -> dict[str, str | None]:
    return {quantity.name: quantity.unavailable for quantity in probe.quantities()}


def only_caveat(watch: Watch) -> Caveat:
    (caveat,) = watch.conclude().caveats
    return caveat


def test_devices_are_numbered_in_cudas_order(watch_gpus: MakeWatch) -> None:
    cards = [StandinGpu(uuid=f"GPU-{letter}") for letter in "abc"]
    watch = watch_gpus(*cards, visible="2,0")
    assert {"gpu0_busy_percent", "gpu1_busy_percent"} <= watch.readings().keys()
    numbered = [(gpu["index"], gpu["uuid"]) for gpu in watch.conclude().facts["gpus"]]
    assert numbered == [(0, "GPU-c"), (1, "GPU-a")]


def test_without_problems_there_is_no_caveat(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus()
    watch.readings()
    assert watch.conclude().caveats == ()


def test_time_throttled_by_power_alone_is_a_caveat_of_the_load(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu([(0, 60), (1, 400), (2.5, 60)], cap_watts=300))
    watch.driver.advance(3.0)
    caveat = only_caveat(watch)
    assert caveat.kind == "gpu-power-limited"
    assert caveat.message.endswith("power limit of its card: power for 1.50 s.")
    assert not caveat.may_pass


def test_an_uncounted_throttle_reason_has_its_share_of_readings(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu([(0, 400), (1, 60)], cap_watts=300))
    for bits in (0, 0x40, 0x40, 0):
        watch.change(reasons=bits)
        watch.readings()
    watch.driver.advance(1.0)
    caveat = only_caveat(watch)
    assert (caveat.kind, caveat.may_pass) == ("gpu-throttled", True)
    message = caveat.message
    assert "power for 0.89 s, hardware_thermal in 50 % of readings." in message


def test_another_process_is_a_caveat(watch_gpus: MakeWatch) -> None:
    assert only_caveat(watch_gpus(StandinGpu(pids=(1, 99)))).kind == "gpu-shared"


@pytest.mark.parametrize(
    ("card", "what"),
    [
        (StandinGpu(virtualization=2), "GPU 0 is a vGPU"),
        (StandinGpu(mig=True, instances=[StandinInstance("MIG-1")]), "GPU 0 is a MIG instance"),
    ],
)
def test_a_part_of_a_card_is_a_caveat(watch_gpus: MakeWatch, card: StandinGpu, what: str) -> None:
    caveat = only_caveat(watch_gpus(card))
    assert (caveat.kind, caveat.message.startswith(what)) == ("gpu-partial", True)


def test_a_card_passed_through_to_this_machine_is_a_whole_card(watch_gpus: MakeWatch) -> None:
    assert watch_gpus(StandinGpu(virtualization=1)).conclude().caveats == ()


def test_a_lost_gpu_is_a_caveat_with_the_time(watch_gpus: MakeWatch) -> None:
    watch = watch_gpus(StandinGpu(uuid="GPU-a"), StandinGpu(uuid="GPU-b", lost_from=2.0))
    watch.driver.advance(2.5)
    watch.readings()
    caveat = only_caveat(watch)
    assert caveat.kind == "gpu-lost"
    assert caveat.message.startswith("GPU 1 (GPU-b) was lost after 2.5 s (NVML: GPU is lost);")


def test_an_unsure_order_is_a_caveat_and_changes_nothing_else(watch_gpus: MakeWatch) -> None:
    sure = watch_gpus()
    probe = UncertainOrder(sure.probe)
    assert probe.quantities() == sure.probe.quantities()
    assert probe.read() == sure.probe.read()
    assert [caveat.kind for caveat in probe.conclude().caveats] == ["gpu-order"]


def test_without_a_gpu_every_quantity_has_the_reason(watch_gpus: MakeWatch) -> None:
    probe = NoGpuProbe("no driver")
    probe.begin()
    assert reasons(probe) == dict.fromkeys(reasons(watch_gpus().probe), "no driver")
    assert list(probe.read()) == [None] * len(reasons(probe))
    assert probe.conclude().facts == {"gpus": []}


# -- opening ---------------------------------------------------------------------------------------


@pytest.fixture
def opened(standin: MakeStandin, monkeypatch: pytest.MonkeyPatch) -> Any:
    def probe(*cards: StandinGpu, **variables: str) -> Probe:
        driver = standin(cards)
        driver.follow_clock()
        for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Gpu(Gpu.Options()).probe(os.getpid())

    return probe


def test_our_own_process_does_not_count_as_another(opened: Any) -> None:
    probe = opened(StandinGpu(pids=[os.getpid()]))
    probe.begin()
    assert probe.conclude().facts["gpus"][0]["other_processes"] == 0


def test_a_hidden_gpu_is_not_read(opened: Any) -> None:
    probe = opened(StandinGpu(), CUDA_VISIBLE_DEVICES="-1")
    expected = "CUDA_VISIBLE_DEVICES='-1' selects no GPU of this machine"
    assert set(reasons(probe).values()) == {expected}


def test_the_order_of_several_models_by_index_is_unsure(opened: Any) -> None:
    mixed = StandinGpu(uuid="GPU-a", name="H100"), StandinGpu(uuid="GPU-b", name="T4")
    assert isinstance(opened(*mixed, CUDA_VISIBLE_DEVICES="0"), UncertainOrder)
    assert isinstance(opened(*mixed, CUDA_VISIBLE_DEVICES="GPU-b"), GpuProbe)


def test_a_gpu_that_is_lost_from_the_start_is_unavailable(opened: Any) -> None:
    assert set(reasons(opened(StandinGpu(lost_from=0.0))).values()) == {"NVML: GPU is lost"}


def test_without_a_driver_every_quantity_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise Unavailable("no NVIDIA driver: NVML Shared Library Not Found")

    monkeypatch.setattr(collector, "open_nvml", no_driver)
    probe = Gpu(Gpu.Options()).probe(1)
    assert set(reasons(probe).values()) == {"no NVIDIA driver: NVML Shared Library Not Found"}
