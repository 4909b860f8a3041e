"""Which GPUs are those that CUDA shows a process."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.collectors.gpu_devices import order_is_sure, visible_devices


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
def test_devices_are_those_that_cuda_shows_in_its_order(
    nvml: Any, visible: str | None, expected: list[str]
) -> None:
    assert uuids(nvml, visible) == expected


def test_devices_are_counted_from_zero_after_choosing(nvml: Any) -> None:
    assert [device.index for device in visible_devices(nvml, "2,1")] == [0, 1]


@pytest.fixture
def split(simulated: Any) -> Any:
    instances = {"GPU-a": ["MIG-1", "MIG-2"], "GPU-b": []}
    return simulated(("GPU-a", "GPU-b", "GPU-c"), ("H100",) * 3, instances)


def test_an_instance_can_be_named_by_its_uuid(split: Any) -> None:
    assert uuids(split, "MIG-2") == ["MIG-2"]
    (device,) = visible_devices(split, "MIG-2")
    assert device.is_instance


def test_an_instance_that_is_not_there_ends_the_list(split: Any) -> None:
    assert uuids(split, "MIG-9,2") == []


def test_of_a_split_card_the_first_instance_is_shown(split: Any) -> None:
    assert uuids(split, "0,2") == ["MIG-1", "GPU-c"]


def test_a_card_that_is_split_into_nothing_shows_nothing(split: Any) -> None:
    assert uuids(split, "1") == []


def test_a_driver_that_knows_no_instances_has_whole_cards_only(nvml: Any) -> None:
    nvml.unsupported = {"mig"}
    assert [device.is_instance for device in visible_devices(nvml, "0")] == [False]


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
def test_numbers_are_cudas_where_cards_are_alike_or_told_by_bus_or_uuid(
    simulated: Any, models: tuple[str, ...], visible: str | None, order: str | None, *, sure: bool
) -> None:
    assert order_is_sure(simulated(("GPU-a", "GPU-b"), models), visible, order) is sure
