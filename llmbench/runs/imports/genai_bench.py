"""Results of genai-bench (https://github.com/sgl-project/genai-bench), written after version 0.0.5.

A file ``SCENARIO_TASK_num_concurrency_N_time_Ts.json`` is one load with N users;
``experiment_metadata.json`` in the same folder names the version and the model. Requests are stored
without their times, so only genai-bench's statistics are read. Latencies count from sending, in
seconds or milliseconds (``_time_unit``), and exclude the warm-up that the tool was told to exclude.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from msgspec import field

from llmbench.runs.imports import documents, measured
from llmbench.runs.imports.documents import Amount, Count, Document, Shape, validated
from llmbench.runs.imports.measured import FROM_SENDING, MILLISECOND, Measured, Summary, Values

TOOL = "genai-bench"
METADATA = "experiment_metadata.json"
REMEDY = "Measure the same endpoint with llmbench for the times of each request."
UNITS = {"s": 1.0, "ms": MILLISECOND}


class _Statistics(documents.Statistics, frozen=True, kw_only=True):
    sum: Amount | None = None

    @property
    def count(self) -> int:
        """The number of requests in it: sum / mean; 0 if unknown."""
        return round(self.sum / self.mean) if self.sum and self.mean else 0


class _Stats(Shape, frozen=True, kw_only=True):
    ttft: _Statistics = _Statistics()
    tpot: _Statistics = _Statistics()
    e2e_latency: _Statistics = _Statistics()
    num_output_tokens: _Statistics = _Statistics()
    total_tokens: _Statistics = _Statistics()


class _Aggregated(Shape, frozen=True, kw_only=True):
    scenario: str | None = None
    num_concurrency: Count = 1
    run_duration: Amount
    mean_output_throughput_tokens_per_s: Amount
    mean_total_tokens_throughput_tokens_per_s: Amount
    requests_per_second: Amount
    num_error_requests: Count = 0
    num_completed_requests: Count
    stats: _Stats


class _Result(Shape, frozen=True, kw_only=True):
    aggregated_metrics: _Aggregated
    time_unit: Literal["s", "ms"] = field(default="s", name="_time_unit")


class _Metadata(Shape, frozen=True, kw_only=True):
    benchmark_version: str = ""
    model: str | None = None
    task: str | None = None
    server_engine: str | None = None
    server_version: str | None = None
    server_gpu_type: str | None = None

    @property
    def gpus(self) -> list[dict[str, str]]:
        """The GPU as the user named it, if known."""
        return [{"name": self.server_gpu_type}] if self.server_gpu_type else []


def recognizes(document: Document) -> bool:
    """Return whether a file is a result of genai-bench."""
    return "aggregated_metrics" in document.keys


def measured_in(document: Document) -> list[Measured]:
    """Return the measured load."""
    result = validated(_Result, document.only, str(document.path))
    metadata, run = _metadata(document.path), result.aggregated_metrics
    total = run.num_completed_requests + run.num_error_requests
    return [
        Measured(
            kind=TOOL,
            tool=f"{TOOL} {metadata.benchmark_version}".strip(),
            began_at=document.modified_at,
            summary=Summary(_values(run, UNITS[result.time_unit], total), total, REMEDY),
            model=metadata.model,
            load={"kind": "closed", "concurrency": run.num_concurrency},
            parts={"workload": _workload(run, metadata)},
            environment={"gpus": metadata.gpus} if metadata.gpus else {},
        )
    ]


def _metadata(path: Path) -> _Metadata:
    """Read the experiment's metadata in the folder of a result; empty if missing."""
    beside = path.with_name(METADATA)
    if not beside.expanduser().exists():
        return _Metadata()
    return validated(_Metadata, documents.read_document(beside).values[0], str(beside))


def _workload(run: _Aggregated, metadata: _Metadata) -> dict[str, Any]:
    workload = {"kind": TOOL, "task": metadata.task, "scenario": run.scenario}
    return {key: value for key, value in workload.items() if value}


def _values(run: _Aggregated, unit: float, total: int) -> Values:
    stats = run.stats
    tokens = round(stats.num_output_tokens.sum or 0)
    return {
        **measured.latency(FROM_SENDING, stats.ttft.known, stats.ttft.count, unit),
        **measured.latency(("tpot",), stats.tpot.known, stats.tpot.count, unit),
        **measured.latency(("e2e",), stats.e2e_latency.known, stats.e2e_latency.count, unit),
        **measured.known(
            {
                "output_tokens_per_second": (
                    run.mean_output_throughput_tokens_per_s or None,
                    tokens,
                ),
                "total_tokens_per_second": (
                    run.mean_total_tokens_throughput_tokens_per_s or None,
                    round(stats.total_tokens.sum or 0),
                ),
                "requests_per_second": (run.requests_per_second, run.num_completed_requests),
                "failed_requests": (run.num_error_requests, total),
                "makespan_seconds": (run.run_duration or None, 1),
            }
        ),
    }
