"""Results of llama-benchy (https://github.com/eugr/llama-benchy), written after version 0.4.0.

``--format json`` stores a value per request of each latency and rate; latencies count from sending,
in milliseconds. A benchmark is one point of prompt size, response size, context and concurrency.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from llmbench.errors import FileError
from llmbench.runs.imports import measured
from llmbench.runs.imports.documents import Amount, Count, Document, Shape, moment, validated
from llmbench.runs.imports.measured import FROM_SENDING, MILLISECOND, Measured, Summary, Values

TOOL = "llama-benchy"
MARKS = {"benchmarks", "latency_mode", "prefix_caching_enabled"}
REMEDY = "Measure the same endpoint with llmbench for the times of each request."

Samples = Annotated[tuple[Amount, ...], Meta(max_length=1_000_000)]


class _Metric(Shape, frozen=True, kw_only=True):
    values: Samples = ()


class _Benchmark(Shape, frozen=True, kw_only=True):
    concurrency: Annotated[int, Meta(ge=1, le=10**6)]
    context_size: Count
    prompt_size: Count
    response_size: Count
    is_context_prefill_phase: bool = False
    tg_req_throughput: _Metric | None = None
    e2e_ttft: _Metric | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What distinguishes the benchmarks of a file, by scenario key."""
        return {
            "load.concurrency": self.concurrency,
            "workload.prompt_tokens": self.prompt_size,
            "workload.output_tokens": self.response_size,
            "workload.context": self.context_size,
            "workload.phase": "context" if self.is_context_prefill_phase else "prompt",
        }

    @property
    def values(self) -> Values:
        """TTFT, and TPOT as the inverse of each request's decode rate."""
        ttfts = self.e2e_ttft.values if self.e2e_ttft else ()
        rates = self.tg_req_throughput.values if self.tg_req_throughput else ()
        tpots = [1 / rate for rate in rates if rate]
        return {
            **measured.latency(FROM_SENDING, measured.statistics(ttfts), len(ttfts), MILLISECOND),
            **measured.latency(("tpot",), measured.statistics(tpots), len(tpots)),
        }


class _Report(Shape, frozen=True, kw_only=True):
    version: str
    timestamp: str
    model: str
    benchmarks: tuple[_Benchmark, ...]


def recognizes(document: Document) -> bool:
    """Return whether a file is a report of llama-benchy."""
    return document.keys >= MARKS


def measured_in(document: Document) -> list[Measured]:
    """Return the measured load of each benchmark; raises FileError if there is none."""
    report = validated(_Report, document.only, str(document.path))
    if not report.benchmarks:
        raise FileError(document.path, "benchmarks: is empty", "at least one")
    points = measured.varying([benchmark.settings for benchmark in report.benchmarks])
    began_at = moment(report.timestamp, f"{document.path}: timestamp")
    return [
        _measured(report, began_at, benchmark, point)
        for benchmark, point in zip(report.benchmarks, points, strict=True)
    ]


def _measured(
    report: _Report, began_at: str, benchmark: _Benchmark, point: dict[str, Any]
) -> Measured:
    requests = len(benchmark.e2e_ttft.values) if benchmark.e2e_ttft else None
    workload = {
        key.removeprefix("workload."): value
        for key, value in benchmark.settings.items()
        if key.startswith("workload.")
    }
    return Measured(
        kind=TOOL,
        tool=f"{TOOL} {report.version}",
        began_at=began_at,
        summary=Summary(benchmark.values, requests, REMEDY),
        model=report.model,
        load={"kind": "closed", "concurrency": benchmark.concurrency},
        point=point,
        parts={"workload": {"kind": TOOL, **workload}},
    )
