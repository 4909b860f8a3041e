"""llm-d's Benchmark Report 0.2, which llm-d-benchmark writes of the load tools that it runs.

Schema: the package llmd-benchmark-report (https://github.com/llm-d/llm-d-benchmark), 0.2 and 0.2.1.
A report has the statistics of one load, in units that it states, as JSON or YAML.
"""

from __future__ import annotations

import math
import re
from typing import Any

from llmbench.errors import FileError, shown
from llmbench.runs.imports import measured
from llmbench.runs.imports.documents import (
    Amount,
    Count,
    Document,
    Shape,
    Statistics,
    moment,
    validated,
)
from llmbench.runs.imports.measured import Measured, Summary, Values

TOOL = "llm-d Benchmark Report"
KIND = "llm-d"
MARKS = {"version", "run", "results"}
SUPPORTED = re.compile(r"0\.2(\.\d+)?")
OURS = "llmbench"
DUE = "when a request was due"
DEFINED = "the moment that {tool} defines, usually sending"
REMEDY = "Import the tool's own file if it has requests, or measure with llmbench."
UNITS = {
    "s": 1.0, "ms": 1e-3, "s/token": 1.0, "ms/token": 1e-3, "fraction": 1.0, "percent": 1e-2,
    "count": 1.0, "tokens/s": 1.0, "queries/s": 1.0, "Watts": 1.0,
}  # fmt: skip


class _Statistics(Statistics, frozen=True, kw_only=True):
    units: str

    def __post_init__(self) -> None:
        if self.units not in UNITS:
            raise ValueError(f"unknown units {self.units!r}; known are {', '.join(UNITS)}")

    @property
    def unit(self) -> float:
        """The unit in that of llmbench."""
        return UNITS[self.units]


class _Requests(Shape, frozen=True, kw_only=True):
    total: Count
    failures: Count | None = None
    incomplete: Count | None = None


class _Latency(Shape, frozen=True, kw_only=True):
    time_to_first_token: _Statistics | None = None
    time_per_output_token: _Statistics | None = None
    inter_token_latency: _Statistics | None = None
    request_latency: _Statistics | None = None


class _Throughput(Shape, frozen=True, kw_only=True):
    output_token_rate: _Statistics | None = None
    total_token_rate: _Statistics | None = None
    request_rate: _Statistics | None = None


class _Aggregate(Shape, frozen=True, kw_only=True):
    requests: _Requests | None = None
    latency: _Latency = _Latency()
    throughput: _Throughput = _Throughput()


class _Performance(Shape, frozen=True, kw_only=True):
    aggregate: _Aggregate


class _Resources(Shape, frozen=True, kw_only=True):
    kv_cache_usage: _Statistics | None = None
    cache_hit_rate: _Statistics | None = None
    running_requests: _Statistics | None = None
    waiting_requests: _Statistics | None = None
    preemptions: _Statistics | None = None
    power_consumption: _Statistics | None = None


class _Observed(Shape, frozen=True, kw_only=True):
    aggregate: _Resources | None = None


class _Observability(Shape, frozen=True, kw_only=True):
    components: tuple[_Observed, ...] | None = None


class _Results(Shape, frozen=True, kw_only=True):
    request_performance: _Performance
    observability: _Observability | None = None


class _Time(Shape, frozen=True, kw_only=True):
    start: str | None = None
    end: str | None = None


class _Run(Shape, frozen=True, kw_only=True):
    time: _Time | None = None


class _Length(Shape, frozen=True, kw_only=True):
    value: Amount


class _Standardized(Shape, frozen=True, kw_only=True):
    tool: str
    tool_version: str = ""
    rate_qps: Amount | None = None
    concurrency: float | None = None  # may be infinite
    input_seq_len: _Length | None = None
    output_seq_len: _Length | None = None

    @property
    def load(self) -> dict[str, Any]:
        """The load with scenario keys."""
        if self.rate_qps:
            return {"kind": "rate", "rate": self.rate_qps}
        if self.concurrency and math.isfinite(self.concurrency):
            return {"kind": "closed", "concurrency": int(self.concurrency)}
        return {"kind": "unknown"}

    @property
    def workload(self) -> dict[str, Any]:
        """The lengths of prompts and outputs, as far as they are stated."""
        lengths = {"prompt_tokens": self.input_seq_len, "output_tokens": self.output_seq_len}
        return {"kind": self.tool} | {key: one.value for key, one in lengths.items() if one}


class _Load(Shape, frozen=True, kw_only=True):
    standardized: _Standardized


class _Model(Shape, frozen=True, kw_only=True):
    name: str


class _Accelerator(Shape, frozen=True, kw_only=True):
    model: str
    count: Count = 1


class _Engine(Shape, frozen=True, kw_only=True):
    tool: str
    tool_version: str = ""
    model: _Model | None = None
    accelerator: _Accelerator | None = None


class _Component(Shape, frozen=True, kw_only=True):
    standardized: _Engine


class _Scenario(Shape, frozen=True, kw_only=True):
    stack: tuple[_Component, ...] | None = None
    load: _Load | None = None


class _Report(Shape, frozen=True, kw_only=True):
    version: str
    run: _Run
    scenario: _Scenario | None = None
    results: _Results


def recognizes(document: Document) -> bool:
    """Return whether a file is a Benchmark Report."""
    return document.keys >= MARKS


def measured_in(document: Document) -> list[Measured]:
    """Return the measured load; raises FileError for another version than 0.2."""
    value = document.only
    if not SUPPORTED.fullmatch(str(value["version"])):
        problem = f"version: found {shown(value['version'])}"
        raise FileError(document.path, problem, "0.2", "convert it with llmd-benchmark-report")
    report = validated(_Report, {**value, "version": str(value["version"])}, str(document.path))
    scenario = report.scenario or _Scenario()
    load = scenario.load.standardized if scenario.load else _Standardized(tool=KIND)
    engines = [component.standardized for component in scenario.stack or ()]
    requests = report.results.request_performance.aggregate.requests
    return [
        Measured(
            kind=KIND,
            tool=f"{load.tool} {load.tool_version}".strip(),
            began_at=_began_at(report, document),
            summary=Summary(_values(report.results, load.tool), _total(requests), REMEDY),
            since=DUE if load.tool == OURS else DEFINED.format(tool=load.tool),
            model=next((engine.model.name for engine in engines if engine.model), None),
            load=load.load,
            parts={"workload": load.workload, **_engine(engines)},
            environment=_environment(engines),
        )
    ]


def _began_at(report: _Report, document: Document) -> str:
    time = report.run.time or _Time()
    stated = time.start or time.end
    return moment(stated, f"{document.path}: run.time") if stated else document.modified_at


def _total(requests: _Requests | None) -> int | None:
    return requests.total if requests else None


def _engine(engines: list[_Engine]) -> dict[str, Any]:
    named = [f"{engine.tool} {engine.tool_version}".strip() for engine in engines]
    return {"engine": {"stack": ", ".join(named)}} if named else {}


def _environment(engines: list[_Engine]) -> dict[str, Any]:
    gpus = [
        {"name": engine.accelerator.model}
        for engine in engines
        if engine.accelerator
        for _ in range(min(engine.accelerator.count, 64))
    ]
    return {"gpus": gpus} if gpus else {}


# -- values ----------------------------------------------------------------------------------------


def _values(results: _Results, tool: str) -> Values:
    aggregate = results.request_performance.aggregate
    requests, latency, rates = aggregate.requests, aggregate.latency, aggregate.throughput
    good = _successful(requests)
    first = ("ttft",) if tool == OURS else measured.FROM_SENDING
    named = {
        first: (latency.time_to_first_token, good),
        ("tpot",): (latency.time_per_output_token, good),
        ("itl",): (latency.inter_token_latency, 0),
        ("e2e",): (latency.request_latency, good),
    }
    values = {
        **_means({
            "output_tokens_per_second": rates.output_token_rate,
            "total_tokens_per_second": rates.total_token_rate,
            "requests_per_second": rates.request_rate,
        }),
        **_observed(results.observability),
    }  # fmt: skip
    for names, (statistics, n) in named.items():
        if statistics:
            values |= measured.latency(names, statistics.known, n, statistics.unit)
    if requests and requests.failures is not None:
        failed = requests.failures + (requests.incomplete or 0)
        values |= {"failed_requests": (float(failed), requests.total)}
    return values


def _successful(requests: _Requests | None) -> int:
    if requests is None or requests.failures is None:
        return 0
    return max(0, requests.total - requests.failures - (requests.incomplete or 0))


def _means(named: dict[str, _Statistics | None]) -> Values:
    return {
        key: (statistics.mean * statistics.unit, 0)
        for key, statistics in named.items()
        if statistics and statistics.mean is not None
    }


def _observed(observability: _Observability | None) -> Values:
    """Return the resources of the only component; those of several are not one server's."""
    components = (observability.components or ()) if observability else ()
    resources = [component.aggregate for component in components if component.aggregate]
    if len(resources) != 1:
        return {}
    (one,) = resources
    return _means({
        "server_kv_cache_mean": one.kv_cache_usage,
        "server_prefix_cache_hit_share": one.cache_hit_rate,
        "server_running_mean": one.running_requests,
        "server_waiting_mean": one.waiting_requests,
        "server_preemptions": one.preemptions,
        "energy_power_watts": one.power_consumption,
    })  # fmt: skip
