"""The NVIDIA driver as NVML tells of it; nothing here needs CUDA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmbench.environment.reading import Missing, Reader

__all__ = ["describe_gpus", "open_nvml"]


def open_nvml() -> Any:
    """Give the initialised NVML module. Raises Missing, with the reason, where there is none."""
    import pynvml  # noqa: PLC0415 (looks for the driver, which few machines have)

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise Missing(f"no NVIDIA driver: {error}") from None
    except pynvml.NVMLError as error:
        raise Missing(f"the NVIDIA driver does not answer: {error}") from None
    return pynvml


def describe_gpus(nvml: Any, reader: Reader) -> list[dict[str, Any]]:
    """Describe every GPU of the machine; what one does not tell is None with NVML's words."""
    return [
        reader.read_all(f"gpus.{index}", _questions(nvml, nvml.nvmlDeviceGetHandleByIndex(index)))
        for index in range(nvml.nvmlDeviceGetCount())
    ]


def _questions(nvml: Any, handle: Any) -> dict[str, Callable[[], Any]]:
    asked: dict[str, Callable[[], Any]] = {
        "name": lambda: nvml.nvmlDeviceGetName(handle),
        "uuid": lambda: nvml.nvmlDeviceGetUUID(handle),
        "memory_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total,
        "driver": nvml.nvmlSystemGetDriverVersion,
        "cuda_driver": lambda: _cuda_version(nvml.nvmlSystemGetCudaDriverVersion_v2()),
        "power_limit_watts": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "ecc": lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),
        "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
    }
    return {name: _worded(nvml, how) for name, how in asked.items()}


def _cuda_version(number: int) -> str:
    """Write NVML's 12040 as 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _worded(nvml: Any, how: Callable[[], Any]) -> Callable[[], Any]:
    def ask() -> Any:
        try:
            return how()
        except nvml.NVMLError as error:
            raise Missing(f"NVML: {error}") from None

    return ask
