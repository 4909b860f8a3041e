"""How cards are described, by a simulated NVML."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmbench.environment import nvml
from llmbench.environment.reading import Missing, Reader


class NvmlError(Exception):
    pass


class OneCard:
    """The part of NVML that describes cards, with known answers."""

    NVMLError = NvmlError

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "card",
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * 2**30),
            "nvmlSystemGetDriverVersion": "570.86",
            "nvmlSystemGetCudaDriverVersion_v2": 12080,
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetPersistenceMode": 1,
            "nvmlDeviceGetMigMode": [0, 1],
        }
        return lambda *_: answers[name] if name in answers else self._refuse()

    def _refuse(self) -> None:
        raise NvmlError("Not Supported")


def test_a_card_is_described_and_what_it_does_not_tell_has_nvmls_words() -> None:
    reader = Reader()
    assert nvml.describe_gpus(OneCard(), reader) == [
        {
            "name": "NVIDIA H100 80GB HBM3",
            "uuid": "GPU-1",
            "memory_bytes": 80 * 2**30,
            "driver": "570.86",
            "cuda_driver": "12.8",
            "power_limit_watts": 700.0,
            "persistence": True,
            "ecc": None,
            "mig": False,
        }
    ]
    assert reader.reasons == {"gpus.0.ecc": "NVML: Not Supported"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("NVMLError_LibraryNotFound", "no NVIDIA driver: NVML Shared Library Not Found"),
        ("NVMLError_DriverNotLoaded", "the NVIDIA driver does not answer: Driver Not Loaded"),
    ],
)
def test_without_a_driver_there_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, error: str, reason: str
) -> None:
    import pynvml  # noqa: PLC0415 (only these two tests need it)

    def failing() -> None:
        raise getattr(pynvml, error)

    monkeypatch.setattr(pynvml, "nvmlInit", failing)
    with pytest.raises(Missing) as caught:
        nvml.open_nvml()
    assert str(caught.value) == reason
