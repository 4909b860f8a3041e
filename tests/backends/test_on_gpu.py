"""The local backends on an NVIDIA GPU: the model's tokens, CUDA graphs, memory, and counters."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from llmbench.backends.base import BACKENDS
from llmbench.backends.local import LocalServer, local_server
from llmbench.collectors.energy import Energy
from llmbench.collectors.gpu.collector import Gpu
from llmbench.errors import OutOfMemoryError
from llmbench.scenario.schema import EngineOptions, ModelOptions
from llmbench.testing import dispatch, open_context, requests, serve

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU"),
]

TINY = ModelOptions(source="builtin:tiny", device="cuda")
CONTEXT = open_context(TINY, prompt_lengths=(4, 20), longest_sequence=100, slots=4)

BACKENDS_ON_GPU: list[dict[str, Any]] = [
    {"kind": "eager"},
    {"kind": "eager", "attention": "sdpa-grouped"},
    {"kind": "eager", "attention": "eager"},
    {"kind": "compiled"},
    {"kind": "compiled", "mode": "default"},
    {"kind": "compiled", "mode": "max-autotune"},
    {"kind": "compiled", "prefill": "compiled"},
    {"kind": "compiled", "dynamic": True, "mode": "default"},
    {"kind": "compiled", "matvec": "generated"},
    {"kind": "onnx", "provider": "cuda"},
    {"kind": "onnx", "provider": "cuda", "compress": {"quantize": "int8-weight-only"}},
    {"kind": "onnx", "provider": "cuda", "compress": {"quantize": "int4-weight-only"}},
    {"kind": "quantized", "scheme": "int8-weight-only"},
    {"kind": "quantized", "scheme": "int8-dynamic"},
    {"kind": "quantized", "scheme": "int4-weight-only"},
    {"kind": "quantized", "scheme": "float8"},
    {"kind": "eager", "compress": {"quantize": "int8-weight-only"}},
    {"kind": "eager", "compress": {"prune": {"kind": "two-four"}}},
    {"kind": "speculative", "draft": "builtin:tiny", "tokens": 3},
]


def opened(options: dict[str, Any], context: Any = CONTEXT) -> Any:
    part = BACKENDS.find(options["kind"])
    rest = {key: value for key, value in options.items() if key != "kind"}
    return part(part.Options.model_validate(rest)).open(context)


def name_of(options: dict[str, Any]) -> str:
    return "-".join(str(value) for value in options.values())


@pytest.mark.parametrize("options", BACKENDS_ON_GPU, ids=name_of)
def test_a_backend_on_the_gpu_has_the_tokens_of_the_models_own_forward(
    options: dict[str, Any],
) -> None:
    with opened(options) as server:
        records = serve(server, dispatch(requests(6)))
        report = server.report()
    assert report.effective["device"] == "cuda:0"
    assert report.self_check["result"] == "equal"
    assert report.counters["compiles_in_window"] == 0
    assert [sum(record.token_counts) for record in records] == [8] * 6


def launches(server: LocalServer, name: str) -> int:
    """Return how often a decode step calls a function of the CUDA runtime."""
    runner = server.runner
    runner.pretend(2, 20)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        runner.decode([0, 1])
    return sum(event.count for event in profiler.key_averages() if name in event.key)


def test_compiled_decode_steps_replay_one_cuda_graph() -> None:
    with opened({"kind": "compiled"}) as server:
        assert local_server(server).effective()["mode"] == "reduce-overhead"
        assert launches(local_server(server), "cudaGraphLaunch") == 1


def test_without_cuda_graphs_each_kernel_is_launched_alone() -> None:
    with opened({"kind": "compiled", "mode": "default"}) as server:
        assert launches(local_server(server), "cudaGraphLaunch") == 0


def test_memory_peaks_are_those_of_torchs_allocator() -> None:
    with opened({"kind": "eager"}) as server:
        serve(server, dispatch(requests(2)))
        memory = server.report().memory
    assert memory["load_peak"] >= memory["weights"] > 0
    assert memory["decode_peak"] >= memory["weights"] + memory["kv_cache"]


def test_a_kv_cache_beyond_the_gpus_memory_is_refused_with_the_size_that_it_needs() -> None:
    huge = open_context(TINY, longest_sequence=500, engine=EngineOptions(slots=4_000_000))
    with pytest.raises(OutOfMemoryError, match=r"needs .* of KV cache for 4,000,000 slots"):
        opened({"kind": "eager"}, huge).__enter__()


def busy(seconds: float) -> None:
    """Keep the GPU busy with matrix products."""
    matrix = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        torch.mm(matrix, matrix)
        torch.cuda.synchronize()


def test_nvml_reads_every_quantity_or_says_why_not() -> None:
    probe = Gpu(Gpu.Options()).probe(os.getpid())
    probe.begin()
    busy(0.5)
    values = probe.read()
    for quantity, value in zip(probe.quantities(), values, strict=True):
        assert (value is None) == (quantity.unavailable is not None), quantity.name
    by_name = {q.name: value for q, value in zip(probe.quantities(), values, strict=True)}
    assert (by_name["gpu0_memory_used_bytes"] or 0) > 2**25
    (facts,) = probe.conclude().facts["gpus"]
    assert facts["failed_readings"] == []
    assert facts["other_processes"] is not None


def test_the_energy_counter_rises_faster_under_load_than_idle() -> None:
    probe = Energy(Energy.Options()).probe(os.getpid())
    began = time.monotonic()
    busy(1.5)
    facts = probe.conclude().facts["energy"]["gpu0"]
    assert facts["unavailable"] is None
    assert 0.001 < facts["period_seconds"] < 0.5
    assert facts["run_joules"] / (time.monotonic() - began) > facts["idle_watts"]
