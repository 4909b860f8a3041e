"""Properties of the NVIDIA driver and its GPUs, through NVML, without CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmbench.environment.probing import Reader
from llmbench.errors import Unavailable

# The names of nvmlGpuVirtualizationMode_t, in order.
MODES = ("none", "passthrough", "vgpu", "host-vgpu", "host-vsga")

# Bits of NVML's clocks event reasons (nvml.h) that mean throttling. An idle GPU (1) and clocks
# set by the user (2, 256) are not throttled.
POWER_CAP = 0x04
THROTTLE_REASONS = {
    POWER_CAP: "power",
    0x08: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "power_brake",
}
THROTTLED = sum(THROTTLE_REASONS)


def open_nvml() -> Any:
    """Return the initialized NVML module, or raise Unavailable with the reason."""
    import pynvml  # noqa: PLC0415 (loads the driver, which few machines have)

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise Unavailable(f"no NVIDIA driver: {error}") from None
    except pynvml.NVMLError as error:
        raise Unavailable(f"the NVIDIA driver cannot be used: {error}") from None
    return pynvml


def describe_gpus(nvml: Any, reader: Reader) -> list[dict[str, Any]]:
    """Return every GPU's properties; a property that NVML cannot read is None, with the reason."""
    return [
        reader.read_all(f"gpus.{index}", _readers(nvml, index))
        for index in range(_or_unavailable(nvml, nvml.nvmlDeviceGetCount)())
    ]


def _readers(nvml: Any, index: int) -> dict[str, Callable[[], Any]]:
    def card() -> Any:  # fetched every time, since a lost GPU has no handle
        return nvml.nvmlDeviceGetHandleByIndex(index)

    readers: dict[str, Callable[[], Any]] = {
        "name": lambda: nvml.nvmlDeviceGetName(card()),
        "uuid": lambda: nvml.nvmlDeviceGetUUID(card()),
        "memory_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(card()).total,
        "driver": nvml.nvmlSystemGetDriverVersion,
        "cuda_driver": lambda: _cuda_version(nvml.nvmlSystemGetCudaDriverVersion_v2()),
        "power_limit_watts": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(card()) / 1e3,
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(card())),
        "ecc": lambda: bool(nvml.nvmlDeviceGetEccMode(card())[0]),
        "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(card())[0]),
        "virtualization": lambda: virtualization(nvml, card()),
    }
    return {name: _or_unavailable(nvml, read) for name, read in readers.items()}


def virtualization(nvml: Any, handle: Any) -> str:
    """Return the GPU's virtualization mode: none, passthrough, vgpu, ... Raises NVMLError."""
    mode: int = nvml.nvmlDeviceGetVirtualizationMode(handle)
    return MODES[mode] if mode < len(MODES) else str(mode)


def _cuda_version(number: int) -> str:
    """Return a CUDA version from NVML's number, e.g. ``12.4`` from 12040."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _or_unavailable(nvml: Any, read: Callable[[], Any]) -> Callable[[], Any]:
    def read_or_raise() -> Any:
        try:
            return read()
        except nvml.NVMLError as error:
            raise Unavailable(f"NVML: {error}") from None

    return read_or_raise
