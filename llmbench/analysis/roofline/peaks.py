"""Peak memory bandwidth and FLOP/s of a device: measured, and from its vendor's datasheet.

Datasheet values are dense: sparse ones are halved. Names are those of NVML and CUDA. Tensor cores
accumulate in float32. Sources:

* H100: https://www.nvidia.com/en-us/data-center/h100/
* H200: https://www.nvidia.com/en-us/data-center/h200/
* HGX B200: https://www.nvidia.com/en-us/data-center/hgx/
* A100: https://www.nvidia.com/en-us/data-center/a100/
* L40S: https://www.nvidia.com/en-us/data-center/l40s/
* L4: https://www.nvidia.com/en-us/data-center/l4/
* A10: https://www.nvidia.com/en-us/data-center/products/a10-gpu/
* T4: https://www.nvidia.com/en-us/data-center/tesla-t4/
* RTX 4090: https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIGA, TERA = 1e9, 1e12
OTHER_LOAD_PERCENT = 10.0


@dataclass(frozen=True, slots=True)
class DevicePeaks:
    """A device's measured peaks.

    ``bytes_per_second`` is the bandwidth of a copy, reads plus writes; ``flops_per_second`` the
    rate of a square matrix product in ``precision`` (float32, tf32, bfloat16, float16).
    ``hardware`` is the name of the GPU or CPU; ``measured_at`` is ISO 8601, UTC;
    ``other_load_percent`` is the CPU load of other programs during the measurement.
    """

    hardware: str
    device: str
    precision: str
    threads: int | None
    torch: str
    bytes_per_second: float
    flops_per_second: float
    other_load_percent: float
    measured_at: str

    @property
    def is_doubtful(self) -> bool:
        """Whether the peaks may be too low, because other programs used the CPU."""
        return self.device == "cpu" and self.other_load_percent > OTHER_LOAD_PERCENT


def peaks_of(backend_report: Mapping[str, Any]) -> DevicePeaks | None:
    """Return the peaks measured in a run, or None."""
    stored = backend_report.get("device_peaks")
    return DevicePeaks(**stored) if stored else None


@dataclass(frozen=True, slots=True)
class Datasheet:
    """A device's datasheet peaks: bytes/s, and FLOP/s by precision (float32, bfloat16, ...)."""

    bytes_per_second: float
    flops_per_second: dict[str, float]


def _sheet(gigabytes: float, float32: float, tf32: float, half: float) -> Datasheet:
    """Return a datasheet with equal float16 and bfloat16 peaks, from GB/s and TFLOP/s."""
    flops = {"float32": float32, "tf32": tf32, "float16": half, "bfloat16": half}
    return Datasheet(gigabytes * GIGA, {name: rate * TERA for name, rate in flops.items()})


T4 = Datasheet(320 * GIGA, {"float32": 8.1 * TERA, "float16": 65 * TERA})

SHEETS = {
    "NVIDIA B200": _sheet(8000, 75, 1125, 2250),
    "NVIDIA H200": _sheet(4800, 67, 494.7, 989.4),
    "NVIDIA H100 80GB HBM3": _sheet(3350, 67, 494.7, 989.4),
    "NVIDIA H100 NVL": _sheet(3900, 60, 417.5, 835.5),
    "NVIDIA H100 PCIe": _sheet(2000, 51, 378, 756),
    "NVIDIA A100-SXM4-80GB": _sheet(2039, 19.5, 156, 312),
    "NVIDIA A100 80GB PCIe": _sheet(1935, 19.5, 156, 312),
    "NVIDIA A100-SXM4-40GB": _sheet(1555, 19.5, 156, 312),
    "NVIDIA A100-PCIE-40GB": _sheet(1555, 19.5, 156, 312),
    "NVIDIA L40S": _sheet(864, 91.6, 183, 362),
    "NVIDIA L4": _sheet(300, 30.3, 60, 121),
    "NVIDIA A10": _sheet(600, 31.2, 62.5, 125),
    "NVIDIA GeForce RTX 4090": _sheet(1008, 82.6, 82.6, 165.2),
    "Tesla T4": T4,
}


def datasheet(hardware: str) -> Datasheet | None:
    """Return a GPU's datasheet peaks by its NVML name, or None if it is not listed."""
    return SHEETS.get(hardware)
