"""Which GPUs CUDA shows a process, in its order, as NVML's handles.

Rules: CUDA C++ Programming Guide, "CUDA Environment Variables"; MIG User Guide, "Device Names".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Device:
    """One device as CUDA counts it: a whole card, or one MIG instance of a card.

    ``parent`` is the handle of the card of which it is an instance.
    """

    index: int
    handle: Any
    uuid: str
    name: str
    is_instance: bool = False
    parent: Any = None

    @property
    def card(self) -> Any:
        """The handle of the card, which is that of the device where it is a whole one."""
        return self.parent if self.is_instance else self.handle


def visible_devices(nvml: Any, visible: str | None) -> list[Device]:
    """Give the devices in CUDA's order; ``visible`` is CUDA_VISIBLE_DEVICES.

    It names indices, UUIDs or beginnings of UUIDs, of cards or MIG instances; like CUDA, it ends
    at the first entry that names no device. Of a card that is split into instances, CUDA shows
    the first one only.
    """
    cards = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    chosen = cards if visible is None else list(_named(nvml, cards, visible))
    usable = [device for handle in chosen for device in _usable(nvml, handle)]
    return [_device(nvml, index, handle) for index, handle in enumerate(usable)]


def _named(nvml: Any, cards: list[Any], visible: str) -> Iterator[Any]:
    for entry in visible.split(","):
        matches = _matches(nvml, cards, entry.strip())
        if len(matches) != 1:
            return
        yield matches[0]


def _matches(nvml: Any, cards: list[Any], entry: str) -> list[Any]:
    if entry.startswith("GPU-"):
        return [card for card in cards if nvml.nvmlDeviceGetUUID(card).startswith(entry)]
    if entry.startswith("MIG-"):
        return _instance(nvml, entry)
    return [card for index, card in enumerate(cards) if entry == str(index)]


def _instance(nvml: Any, uuid: str) -> list[Any]:
    try:
        return [nvml.nvmlDeviceGetHandleByUUID(uuid)]
    except nvml.NVMLError:  # no such instance, which for CUDA is the end of the list
        return []


def _usable(nvml: Any, handle: Any) -> list[Any]:
    """Give the handle itself, or the first MIG instance of a card that is split."""
    return _instances(nvml, handle)[:1] if _is_split(nvml, handle) else [handle]


def _is_split(nvml: Any, handle: Any) -> bool:
    try:
        mode, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:  # cards without MIG, and instances themselves, do not know the question
        return False
    return bool(mode) and not _is_instance(nvml, handle)


def _is_instance(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceIsMigDeviceHandle(handle))
    except nvml.NVMLError:  # drivers from before MIG do not know the question
        return False


def _instances(nvml: Any, card: Any) -> list[Any]:
    found = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number))
        except nvml.NVMLError:  # numbers without an instance are gaps, not errors
            continue
    return found


def _device(nvml: Any, index: int, handle: Any) -> Device:
    is_instance = _is_instance(nvml, handle)
    return Device(
        index=index,
        handle=handle,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        is_instance=is_instance,
        parent=nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if is_instance else None,
    )


def order_is_sure(nvml: Any, visible: str | None, order: str | None) -> bool:
    """Tell whether NVML's indices are CUDA's; ``order`` is CUDA_DEVICE_ORDER.

    NVML counts cards by their place on the bus, CUDA by speed unless told PCI_BUS_ID; that makes
    a difference where cards are of several models and are not named by UUID.
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    models = {nvml.nvmlDeviceGetName(handle) for handle in handles}
    by_uuid = visible is not None and visible.startswith(("GPU-", "MIG-"))
    return len(models) <= 1 or order == "PCI_BUS_ID" or by_uuid
