"""Results of llama.cpp's llama-bench (https://github.com/ggml-org/llama.cpp): JSON, JSONL or CSV.

Source: tools/llama-bench/llama-bench.cpp. A test decodes ``n_gen`` tokens one by one, processes
``n_prompt`` tokens of a prompt in batches, or does both, with ``n_depth`` tokens already in the KV
cache; it is repeated in one process, and its times exclude sampling and tokenization. There are no
requests. The result is one load per test.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from llmbench.runs.imports import measured
from llmbench.runs.imports.documents import Amount, Count, Document, Shape, moment, validated
from llmbench.runs.imports.measured import Measured, Summary, Values

TOOL = "llama-bench"
MARKS = {"build_commit", "n_prompt", "n_gen", "avg_ns", "avg_ts"}
SINCE = "the start of a test, whose prompt is in memory"
REMEDY = "Measure llama.cpp's server with the `endpoint` backend for latencies of requests."
NANOSECOND = 1e-9

# settings that distinguish the tests of a file
SETTINGS = (
    "backends", "n_batch", "n_ubatch", "n_threads", "type_k", "type_v", "n_gpu_layers",
    "n_cpu_moe", "split_mode", "main_gpu", "no_kv_offload", "flash_attn", "devices",
    "tensor_split", "tensor_buft_overrides", "use_mmap", "load_mode", "embeddings",
)  # fmt: skip

Samples = Annotated[tuple[Amount, ...], Meta(max_length=100_000)]


class _Test(Shape, frozen=True, kw_only=True):
    build_commit: str
    build_number: int | None = None
    cpu_info: str | None = None
    gpu_info: str | None = None
    model_filename: str
    model_type: str | None = None
    model_size: Amount | None = None
    n_prompt: Count
    n_gen: Count
    n_depth: Count = 0
    test_time: str
    avg_ns: Amount
    avg_ts: Amount
    samples_ns: Samples = ()

    @property
    def name(self) -> str:
        """The test as llama-bench names it: ``pp512``, ``tg128 @ d4096``."""
        parts = {"pp": self.n_prompt, "tg": self.n_gen}
        name = "+".join(f"{part}{tokens}" for part, tokens in parts.items() if tokens)
        return f"{name} @ d{self.n_depth}" if self.n_depth else name

    @property
    def values(self) -> Values:
        """The metrics: total tokens/s of a prompt; output tokens/s and TPOT of pure decoding."""
        repetitions = len(self.samples_ns)
        tokens = repetitions * (self.n_prompt + self.n_gen)
        values = measured.known({"memory_weights_bytes": (self.model_size or None, 1)})
        rate = "total_tokens_per_second" if self.n_prompt else "output_tokens_per_second"
        values |= measured.known({rate: (self.avg_ts or None, tokens)})
        if self.n_prompt or not self.n_gen:
            return values
        steps = [sample / self.n_gen for sample in self.samples_ns or (self.avg_ns,)]
        tpot = measured.statistics(steps) if self.samples_ns else {"mean": steps[0]}
        return values | measured.latency(("tpot",), tpot, repetitions, NANOSECOND)


def recognizes(document: Document) -> bool:
    """Return whether a file is a result of llama-bench."""
    return document.keys >= MARKS


def measured_in(document: Document) -> list[Measured]:
    """Return one measured load per test; raises FileError if a row is invalid."""
    rows = []
    for index, value in enumerate(document.values):
        test = validated(_Test, value, document.where(index))
        moment(test.test_time, f"{document.where(index)}: test_time")
        rows.append((test, value))
    points = measured.varying([_settings(test, row) for test, row in rows])
    return [_measured(test, row, point) for (test, row), point in zip(rows, points, strict=True)]


def _settings(test: _Test, row: dict[str, Any]) -> dict[str, Any]:
    settings = {f"engine.{key}": row[key] for key in SETTINGS if row.get(key) is not None}
    return {"model.source": test.model_filename, "workload.test": test.name, **settings}


def _measured(test: _Test, row: dict[str, Any], point: dict[str, Any]) -> Measured:
    gpus = [{"name": name} for name in (test.gpu_info or "").split(", ") if name]
    cpu = {"cpu": {"model": test.cpu_info}} if test.cpu_info else {}
    number = "" if test.build_number is None else f" b{test.build_number}"
    return Measured(
        kind=TOOL,
        tool=f"{TOOL}{number} ({test.build_commit})",
        began_at=test.test_time,
        summary=Summary(test.values, len(test.samples_ns) or None, REMEDY),
        since=SINCE,
        model=test.model_filename,
        load={"kind": "closed", "concurrency": 1},
        point=point,
        parts={
            "workload": {
                "kind": TOOL,
                "test": test.name,
                "prompt_tokens": test.n_prompt,
                "output_tokens": test.n_gen,
                "depth": test.n_depth,
            },
            "engine": {key: row[key] for key in SETTINGS if row.get(key) is not None},
        },
        environment={**cpu, **({"gpus": gpus} if gpus else {})},
    )
