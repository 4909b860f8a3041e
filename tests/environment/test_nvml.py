"""What the NVIDIA driver says of the cards of a machine."""

from __future__ import annotations

from typing import Any

import pynvml
import pytest
from standin import MakeStandin, StandinGpu

from llmbench.environment import nvml
from llmbench.environment.probing import Reader
from llmbench.errors import Unavailable

H100: dict[str, Any] = {
    "name": "NVIDIA H100 80GB HBM3",
    "uuid": "GPU-1",
    "memory_bytes": 80 * 2**30,
    "driver": "580.65.06",
    "cuda_driver": "13.0",
    "power_limit_watts": 700.0,
    "persistence": True,
    "ecc": True,
    "mig": False,
    "virtualization": "none",
}


def described() -> tuple[list[dict[str, Any]], dict[str, str]]:
    reader = Reader()
    return nvml.describe_gpus(nvml.open_nvml(), reader), reader.reasons


def test_a_card_is_described(standin: MakeStandin) -> None:
    standin([StandinGpu(name="NVIDIA H100 80GB HBM3", uuid="GPU-1")])
    assert described() == ([H100], {})


def test_an_unsupported_property_has_nvmls_message_as_its_reason(standin: MakeStandin) -> None:
    standin([StandinGpu(faults={"nvmlDeviceGetEccMode": pynvml.NVML_ERROR_NOT_SUPPORTED})])
    (card,), reasons = described()
    assert card["ecc"] is None
    assert reasons == {"gpus.0.ecc": "NVML: Not Supported"}


def test_a_lost_card_has_reasons_and_the_other_is_described(standin: MakeStandin) -> None:
    standin([StandinGpu(lost_from=0.0), StandinGpu(name=H100["name"], uuid="GPU-1")])
    (lost, other), reasons = described()
    assert (lost["name"], reasons["gpus.0.name"]) == (None, "NVML: GPU is lost")
    assert other == H100


@pytest.mark.parametrize(
    ("number", "word"), [(0, "none"), (1, "passthrough"), (2, "vgpu"), (3, "host-vgpu"), (9, "9")]
)
def test_the_virtualization_of_a_card_has_a_name(
    standin: MakeStandin, number: int, word: str
) -> None:
    standin([StandinGpu(virtualization=number)])
    opened = nvml.open_nvml()
    assert nvml.virtualization(opened, opened.nvmlDeviceGetHandleByIndex(0)) == word


def test_a_driver_that_does_not_answer_is_the_reason(standin: MakeStandin) -> None:
    standin(init_code=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    with pytest.raises(Unavailable, match=r"^the NVIDIA driver cannot be used: Driver Not Loaded$"):
        nvml.open_nvml()


def test_without_a_driver_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", failing)
    with pytest.raises(Unavailable, match=r"^no NVIDIA driver: NVML Shared Library Not Found$"):
        nvml.open_nvml()
