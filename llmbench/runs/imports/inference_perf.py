"""Reports of inference-perf (https://github.com/kubernetes-sigs/inference-perf), after its 0.5.0.

``stage_N_lifecycle_metrics.json`` has the statistics of one stage of the load,
``summary_lifecycle_metrics.json`` those of all stages together; seconds and rates per second.
Latencies count from sending; the lag behind the schedule is separate (``schedule_delay``). The
files have neither a time nor the model's name.
"""

from __future__ import annotations

from typing import Any

from msgspec import field

from llmbench.runs.imports import measured
from llmbench.runs.imports.documents import Amount, Count, Document, Number, Shape, validated
from llmbench.runs.imports.measured import FROM_SENDING, Measured, Summary, Values

TOOL = "inference-perf"
MARKS = {"load_summary", "successes", "failures"}
REMEDY = "Measure the same server with llmbench for the times of each request."


class _Delays(Shape, frozen=True, kw_only=True):
    mean: Number
    p50: Number | None = field(default=None, name="median")
    p90: Number | None = None
    p95: Number | None = None
    p99: Number | None = None


class _Statistics(Shape, frozen=True, kw_only=True):
    mean: Amount
    p50: Amount | None = field(default=None, name="median")
    p90: Amount | None = None
    p95: Amount | None = None
    p99: Amount | None = None


class _Load(Shape, frozen=True, kw_only=True):
    count: Count
    schedule_delay: _Delays | None = None
    requested_rate: Amount | None = None
    concurrency: Count | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The load with scenario keys; only a stage has a rate."""
        if self.requested_rate is None and self.concurrency is None:
            return {"kind": "all stages"}
        keys = {"rate": self.requested_rate or None, "concurrency": self.concurrency}
        return {"kind": "stage", **{key: value for key, value in keys.items() if value}}


class _Latencies(Shape, frozen=True, kw_only=True):
    request_latency: _Statistics | None = None
    time_per_output_token: _Statistics | None = None
    time_to_first_token: _Statistics | None = None
    inter_token_latency: _Statistics | None = None


class _Throughput(Shape, frozen=True, kw_only=True):
    output_tokens_per_sec: Amount | None = None
    total_tokens_per_sec: Amount | None = None
    requests_per_sec: Amount | None = None


class _Goodput(Shape, frozen=True, kw_only=True):
    request_goodput: Amount | None = None
    good_requests: Count = 0
    total_requests: Count = 0


class _Successes(Shape, frozen=True, kw_only=True):
    count: Count
    latency: _Latencies
    throughput: _Throughput
    goodput_metrics: _Goodput | None = None


class _Failures(Shape, frozen=True, kw_only=True):
    count: Count


class _Report(Shape, frozen=True, kw_only=True):
    benchmark_time_seconds: Amount | None = None
    load_summary: _Load
    successes: _Successes
    failures: _Failures


def recognizes(document: Document) -> bool:
    """Return whether a file is a request lifecycle report of inference-perf."""
    return document.keys >= MARKS


def measured_in(document: Document) -> list[Measured]:
    """Return the measured stage, or all stages together."""
    report = validated(_Report, document.only, str(document.path))
    return [
        Measured(
            kind=TOOL,
            tool=TOOL,
            began_at=document.modified_at,
            summary=Summary(_values(report), report.load_summary.count, REMEDY),
            load=report.load_summary.spec,
        )
    ]


def _values(report: _Report) -> Values:
    good, latency, rates = report.successes, report.successes.latency, report.successes.throughput
    n, total = good.count, report.load_summary.count
    values = measured.known(
        {
            "output_tokens_per_second": (rates.output_tokens_per_sec, None),
            "total_tokens_per_second": (rates.total_tokens_per_sec, None),
            "requests_per_second": (rates.requests_per_sec, n),
            "failed_requests": (report.failures.count, total),
            "makespan_seconds": (report.benchmark_time_seconds or None, 1),
            **_goodput(good.goodput_metrics),
        }
    )
    named = {
        FROM_SENDING: (latency.time_to_first_token, n),
        ("tpot",): (latency.time_per_output_token, n),
        ("itl",): (latency.inter_token_latency, 0),
        ("e2e",): (latency.request_latency, n),
    }
    for names, (statistics, size) in named.items():
        values |= measured.latency(names, _by_name(statistics), size)
    lags = _by_name(report.load_summary.schedule_delay)
    return values | measured.known({f"send_lag_{name}": (lags[name], total) for name in lags})


def _by_name(statistics: _Statistics | _Delays | None) -> dict[str, float | None]:
    if statistics is None:
        return {}
    return {name: getattr(statistics, name) for name in statistics.__struct_fields__}


def _goodput(goodput: _Goodput | None) -> dict[str, tuple[float | None, int | None]]:
    if goodput is None or not goodput.total_requests:
        return {}
    share = goodput.good_requests / goodput.total_requests
    return {
        "goodput_requests_per_second": (goodput.request_goodput, goodput.good_requests),
        "slo_attainment": (share, goodput.total_requests),
    }
