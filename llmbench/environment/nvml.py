"""The NVIDIA driver as NVML tells of it; nothing here needs CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmbench.environment.probing import Reader
from llmbench.errors import Unavailable

# nvmlGpuVirtualizationMode_t, by its numbers.
MODES = ("none", "passthrough", "vgpu", "host-vgpu", "host-vsga")


def open_nvml() -> Any:
    """Return the initialized NVML module, or raise Unavailable."""
    import pynvml  # noqa: PLC0415 (looks for the driver, which few machines have)

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise Unavailable(f"no NVIDIA driver: {error}") from None
    except pynvml.NVMLError as error:
        raise Unavailable(f"the NVIDIA driver does not answer: {error}") from None
    return pynvml


def describe_gpus(nvml: Any, reader: Reader) -> list[dict[str, Any]]:
    """Describe every GPU of the machine; what one does not tell is None with NVML's words."""
    return [
        reader.read_all(f"gpus.{index}", _questions(nvml, index))
        for index in range(_worded(nvml, nvml.nvmlDeviceGetCount)())
    ]


def _questions(nvml: Any, index: int) -> dict[str, Callable[[], Any]]:
    def card() -> Any:  # asked for each time, since a card that is lost has no handle
        return nvml.nvmlDeviceGetHandleByIndex(index)

    asked: dict[str, Callable[[], Any]] = {
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
    return {name: _worded(nvml, how) for name, how in asked.items()}


def virtualization(nvml: Any, handle: Any) -> str:
    """Tell how a card is shown to this machine: none, passthrough, vgpu, ... Raises NVMLError."""
    mode: int = nvml.nvmlDeviceGetVirtualizationMode(handle)
    return MODES[mode] if mode < len(MODES) else str(mode)


def _cuda_version(number: int) -> str:
    """Write NVML's 12040 as 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _worded(nvml: Any, how: Callable[[], Any]) -> Callable[[], Any]:
    def ask() -> Any:
        try:
            return how()
        except nvml.NVMLError as error:
            raise Unavailable(f"NVML: {error}") from None

    return ask
