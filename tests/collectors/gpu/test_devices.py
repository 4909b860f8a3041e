"""GPUs visible to a CUDA process."""

from __future__ import annotations

from typing import Any

import pytest
from standin import MakeStandin, StandinGpu, StandinInstance

from llmbench.collectors.gpu.devices import cuda_order_known, visible_devices
from llmbench.environment.nvml import open_nvml

UUIDS = ("GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3")


@pytest.fixture
def three(standin: MakeStandin) -> Any:
    standin([StandinGpu(uuid=uuid) for uuid in UUIDS])
    return open_nvml()


def uuids(nvml: Any, visible: str | None) -> list[str]:
    return [device.uuid for device in visible_devices(nvml, visible)]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]),
        ("2,0", ["GPU-cccc-3", "GPU-aaaa-1"]),
        (" 1 , 2", ["GPU-aabb-2", "GPU-cccc-3"]),
        ("GPU-aabb-2", ["GPU-aabb-2"]),
        ("GPU-cc", ["GPU-cccc-3"]),
        ("GPU-aa", []),
        ("1,-1,0", ["GPU-aabb-2"]),
        ("1,9,0", ["GPU-aabb-2"]),
        ("", []),
        ("GPU-zz", []),
    ],
)
def test_devices_are_those_visible_to_cuda_in_its_order(
    three: Any, visible: str | None, expected: list[str]
) -> None:
    assert uuids(three, visible) == expected


def test_devices_are_counted_from_zero_after_selection(three: Any) -> None:
    assert [device.index for device in visible_devices(three, "2,1")] == [0, 1]


@pytest.fixture
def split(standin: MakeStandin) -> Any:
    instances = [StandinInstance("MIG-1", slot=2), StandinInstance("MIG-2", slot=3)]
    standin(
        [
            StandinGpu(uuid="GPU-a", mig=True, instances=instances),
            StandinGpu(uuid="GPU-b", mig=True),
            StandinGpu(uuid="GPU-c"),
        ]
    )
    return open_nvml()


def test_an_instance_can_be_selected_by_its_uuid(split: Any) -> None:
    (device,) = visible_devices(split, "MIG-2")
    assert (device.uuid, device.is_instance) == ("MIG-2", True)


def test_an_instance_knows_its_card_and_a_card_is_its_own(split: Any) -> None:
    instance, card = visible_devices(split, "MIG-2,2")
    assert split.nvmlDeviceGetUUID(instance.card) == "GPU-a"
    assert split.nvmlDeviceGetUUID(card.card) == "GPU-c"


def test_a_missing_instance_ends_the_list(split: Any) -> None:
    assert uuids(split, "MIG-9,2") == []


def test_of_a_split_card_the_first_instance_is_visible(split: Any) -> None:
    assert uuids(split, "0,2") == ["MIG-1", "GPU-c"]


def test_a_split_card_without_instances_is_invisible(split: Any) -> None:
    assert uuids(split, "1") == []


@pytest.mark.parametrize("function", ["nvmlDeviceGetMigMode", "nvmlDeviceIsMigDeviceHandle"])
def test_a_driver_older_than_mig_has_whole_cards_only(standin: MakeStandin, function: str) -> None:
    standin(missing=[function])
    assert [device.is_instance for device in visible_devices(open_nvml(), "0")] == [False]


@pytest.mark.parametrize(
    ("models", "visible", "order", "sure"),
    [
        (("H100", "H100"), "0", None, True),
        (("H100", "T4"), "0", None, False),
        (("H100", "T4"), None, None, False),
        (("H100", "T4"), "0", "FASTEST_FIRST", False),
        (("H100", "T4"), "0", "PCI_BUS_ID", True),
        (("H100", "T4"), "GPU-b", None, True),
    ],
)
def test_the_order_is_sure_with_one_model_bus_order_or_uuids(
    standin: MakeStandin,
    models: tuple[str, str],
    visible: str | None,
    order: str | None,
    *,
    sure: bool,
) -> None:
    standin([StandinGpu(uuid="GPU-a", name=models[0]), StandinGpu(uuid="GPU-b", name=models[1])])
    assert cuda_order_known(open_nvml(), visible, order) is sure
