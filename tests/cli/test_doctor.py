"""``llmbench doctor``: what it prints, and its advice for each machine."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from standin import MakeStandin, StandinGpu

from llmbench import environment
from llmbench.cli import main
from llmbench.cli.doctor import advise
from llmbench.collectors.gpu.gpm import NO_GPM

Capture = pytest.CaptureFixture[str]

GPU = {"name": "H100", "uuid": "GPU-1", "persistence": True, "mig": False, "virtualization": "none"}

FINE: dict[str, Any] = {
    "cpu": {"governor": "performance", "turbo": False, "usable_cores": 8, "logical_cores": 8},
    "memory": {"transparent_hugepages": "madvise"},
    "gpus": [GPU],
    "system": {"load_average": 3.2, "virtual_machine": False},
    "container": {"cpu_limit_cores": None},
    "packages": {
        "torch": "2.13.0",
        "onnxruntime": None,
        "onnxruntime-gpu": "1.30",
        "torchao": "0.16",
        "prometheus-client": "0.26",
        "jsonschema": "4.26",
    },
    "reasons": {},
}


def about(machine: dict[str, Any], busy_percent: float = 0.0) -> list[str]:
    return [advice.about for advice in advise(machine, busy_percent)]


def only_advice(machine: dict[str, Any], busy_percent: float = 0.0) -> str:
    (advice,) = advise(machine, busy_percent)
    return f"{advice.message} {advice.remedy}"


def but(part: str, name: str, value: Any) -> dict[str, Any]:
    """Return a fine machine with one change."""
    machine = deepcopy(FINE)
    machine[part][name] = value
    return machine


def test_a_fine_machine_needs_no_advice() -> None:
    assert about(FINE, busy_percent=10.0) == []


@pytest.mark.parametrize(
    ("part", "name", "value", "command"),
    [
        ("cpu", "governor", "powersave", "sudo cpupower frequency-set -g performance"),
        ("cpu", "turbo", True, "sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"),
        ("container", "cpu_limit_cores", 2.5, "Raise the quota"),
        ("memory", "transparent_hugepages", "always", "echo madvise | sudo tee"),
        ("system", "virtual_machine", True, "cpu-stolen"),
        ("packages", "torch", "2.13.0+cpu", "pip install --force-reinstall torch"),
        ("packages", "torchao", None, "pip install 'llmbench[quant]'"),
        ("packages", "onnxruntime-gpu", None, "pip install 'llmbench[onnx-gpu]'"),
    ],
)
def test_each_problem_has_one_piece_of_advice_with_a_command(
    part: str, name: str, value: Any, command: str
) -> None:
    assert command in only_advice(but(part, name, value))


def test_a_quota_of_all_cores_is_no_limit() -> None:
    assert about(but("container", "cpu_limit_cores", 8.0)) == []


def test_unknown_properties_lead_to_no_advice() -> None:
    assert about(but("cpu", "governor", None)) == []
    assert about(but("cpu", "turbo", None)) == []
    assert about(but("memory", "transparent_hugepages", None)) == []
    assert about(but("system", "virtual_machine", None)) == []


def test_other_programs_are_a_disturbance() -> None:
    assert only_advice(FINE, busy_percent=42.0).startswith(
        "Other programs use 42 % of the CPU (load average 3.2)."
    )


def test_without_a_gpu_the_reason_is_printed_and_onnx_is_that_for_cpus() -> None:
    machine = {**but("packages", "onnxruntime-gpu", None), "gpus": None}
    machine["reasons"] = {"gpus": "no NVIDIA driver: NVML Shared Library Not Found"}
    gpu, onnx = advise(machine, 0.0)
    assert gpu.message == ("No GPU is available (no NVIDIA driver: NVML Shared Library Not Found).")
    assert onnx.remedy == "pip install 'llmbench[onnx]'"


def test_a_torch_for_cpus_is_right_where_there_is_no_gpu() -> None:
    assert about({**but("packages", "torch", "2.13.0+cpu"), "gpus": None}) == ["gpu"]


def test_each_card_has_its_own_advice() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"persistence": False},
        {"mig": True},
        {"mig": None},
        {"virtualization": "vgpu"},
    ]
    cards = [{**GPU, **change} for change in changes]
    assert about({**FINE, "gpus": cards}) == ["gpu1-persistence", "gpu2-mig", "gpu4-vgpu"]


def test_it_prints_the_machine(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    machine = environment.capture(Path.cwd())
    assert str(machine["cpu"]["model"]) in text
    assert environment.fingerprint(machine) in text
    assert "Likely to disturb measurements" in text
    if machine["gpus"] is None:
        assert f"— {machine['reasons']['gpus']}" in text


def test_markup_in_values_is_printed_as_text(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "[red]0")
    main(["doctor"])
    assert "[red]0" in capsys.readouterr().out


def test_variables_that_are_not_set_are_left_out_of_the_table(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    main(["doctor"])
    text = capsys.readouterr().out
    assert "OMP_NUM_THREADS" in text
    assert "OMP_WAIT_POLICY" not in text


def test_it_lists_the_quantities_of_a_gpu_with_reasons_for_the_missing(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, standin: MakeStandin
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    standin([StandinGpu(gpm_supported=False)])
    assert main(["doctor"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    telemetry = {line[0]: line[1].strip() for line in lines if line and line[0].startswith("gpu0_")}
    assert telemetry["gpu0_power_instant_watts"] == "in W"
    assert telemetry["gpu0_sm_active_percent"] == f"— {NO_GPM}"


def test_it_prints_json(capsys: Capture) -> None:
    assert main(["doctor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["fingerprint"] == environment.fingerprint(environment.capture(Path.cwd()))
    assert 0 <= printed["busy_percent"] <= 100
    for advice in printed["advice"]:
        assert advice.keys() == {"group", "about", "message", "remedy"}
