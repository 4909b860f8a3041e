"""The GPUs visible to a CUDA process, in CUDA's order, as NVML handles.

Sources: CUDA C++ Programming Guide, "CUDA Environment Variables"; MIG User Guide, "Device Names".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Device:
    """A CUDA device: a whole GPU, or a MIG instance of the GPU ``parent``."""

    index: int
    handle: Any
    uuid: str
    name: str
    is_instance: bool = False
    parent: Any = None

    @property
    def card(self) -> Any:
        """The NVML handle of the whole GPU."""
        return self.parent if self.is_instance else self.handle


def visible_devices(nvml: Any, visible: str | None) -> list[Device]:
    """Return the devices visible to CUDA, in its order; ``visible`` is CUDA_VISIBLE_DEVICES.

    Its entries are indices, UUIDs or UUID prefixes of GPUs or MIG instances. As in CUDA, the list
    ends at the first invalid entry, and of a MIG-partitioned GPU only the first instance is
    visible.
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
    except nvml.NVMLError:  # no such instance: CUDA ends the list here
        return []


def _usable(nvml: Any, handle: Any) -> list[Any]:
    """Return a GPU's own handle, or that of its first MIG instance if it is partitioned."""
    return _instances(nvml, handle)[:1] if _is_split(nvml, handle) else [handle]


def _is_split(nvml: Any, handle: Any) -> bool:
    try:
        mode, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:  # not supported by GPUs without MIG, nor by instances
        return False
    return bool(mode) and not _is_instance(nvml, handle)


def _is_instance(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceIsMigDeviceHandle(handle))
    except nvml.NVMLError:  # not supported by drivers older than MIG
        return False


def _instances(nvml: Any, card: Any) -> list[Any]:
    instances = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        try:
            instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number))
        except nvml.NVMLError:  # indices without an instance are gaps, not errors
            continue
    return instances


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


def cuda_order_known(nvml: Any, visible: str | None, order: str | None) -> bool:
    """Return whether NVML's indices match CUDA's; ``order`` is CUDA_DEVICE_ORDER.

    NVML orders GPUs by PCI bus, CUDA by speed unless ``order`` is PCI_BUS_ID. The orders may differ
    if GPU models are mixed and CUDA_VISIBLE_DEVICES has no UUIDs.
    """
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    models = {nvml.nvmlDeviceGetName(handle) for handle in handles}
    by_uuid = visible is not None and visible.startswith(("GPU-", "MIG-"))
    return len(models) <= 1 or order == "PCI_BUS_ID" or by_uuid
