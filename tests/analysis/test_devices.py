"""The devices of a system under test."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.analysis.devices import SERVER, Devices, devices_of
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case

GPUS = {"gpus": [{"name": "GPU"}] * 8}


def run(
    backend: dict[str, Any],
    environment: dict[str, Any],
    device: str | list[str] | None = None,
    **spec: Any,
) -> Run:
    kind = backend.get("kind", "endpoint")
    case = Case("case", "case", kind, {}, {"backends": [backend], **spec})
    report = {"effective": {"device": device} if device else {}}
    return Run(
        case, 1, "2026-01-01T00:00:00+00:00", records=records_table([]),
        environment=environment, backend_report=report,
    )  # fmt: skip


def vllm(arguments: str = "", **more: Any) -> dict[str, Any]:
    return {"server": {"preset": "vllm", "arguments": arguments, **more}}


@pytest.mark.parametrize(
    ("backend", "environment", "device", "devices"),
    [
        ({"kind": "eager"}, GPUS, "cuda:0", Devices("GPU", 1)),
        ({"kind": "eager"}, {}, "cpu", Devices("machine", 1)),
        ({"kind": "fake"}, {"gpus": None}, None, Devices("machine", 1)),
        ({"url": "http://far:8000", "devices": 4}, {}, None, Devices("GPU", 4)),
        ({"url": ["http://a:8000", "http://b:8000"]}, GPUS, None, Devices("server", 2)),
        (vllm(), {"gpus": None}, None, Devices("machine", 1)),
        (vllm(), GPUS, None, Devices("GPU", 1)),
        (vllm("--tensor-parallel-size 2 --pipeline_parallel_size=2"), GPUS, None,
         Devices("GPU", 4)),
        (vllm("-tp 2", replicas=3), GPUS, None, Devices("GPU", 6)),
        (vllm("--tensor-parallel-size two"), GPUS, None, Devices("GPU", 1)),
    ],
)  # fmt: skip
def test_devices_are_known_from_the_backend(
    backend: dict[str, Any], environment: dict[str, Any], device: str | None, devices: Devices
) -> None:
    assert devices_of([run(backend, environment, device)]) == devices


def test_the_ranks_of_a_model_and_its_replicas_have_a_gpu_each() -> None:
    ranks = run({"kind": "eager"}, GPUS, "cuda:0", parallel={"tensor": 4})
    replicas = run({"kind": "eager"}, GPUS, ["cuda:0", "cuda:1", "cuda:0"])
    assert devices_of([ranks]) == Devices("GPU", 4)
    assert devices_of([replicas]) == Devices("GPU", 2)
    assert devices_of([run({"kind": "eager"}, {}, ["cpu", "cuda:0"])]) == Devices("machine", 1)


def test_figures_are_per_server_where_its_gpus_are_unknown() -> None:
    running, launched = {"url": "http://far:8000"}, {"server": {"launch": "./serve"}}
    assert devices_of([run(running, GPUS)]) == devices_of([run(launched, GPUS)]) == SERVER


def test_runs_on_different_devices_have_none_in_common() -> None:
    runs = [run({"kind": "eager"}, {}, "cpu"), run({"kind": "eager"}, GPUS, "cuda:0")]
    assert devices_of(runs) == devices_of([]) == SERVER
