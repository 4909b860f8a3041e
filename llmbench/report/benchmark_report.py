"""Runs as llm-d's Benchmark Report 0.2, one report per run.

Its schema and pydantic models are in the package llmd-benchmark-report. The format has no place for
several processes of a case, nor for intervals, so each run is a report, and the reports of a run
set share their experiment id.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from llmbench import __version__
from llmbench.analysis.attained_rate import asked_rate
from llmbench.analysis.metrics import RecordArrays, Value, summarize
from llmbench.analysis.metrics.record_arrays import floats
from llmbench.analysis.stats import Floats
from llmbench.runs.run import Run
from llmbench.runs.run_set import RunSet

VERSION = "0.2"
TOOL, LABEL = "llmbench", "system-under-test"
SCHEMA_OF_PARTS = "0.0.1"
PERCENTILES = {
    "p0p1": 0.1, "p1": 1, "p5": 5, "p10": 10, "p25": 25, "p50": 50, "p75": 75, "p90": 90,
    "p95": 95, "p99": 99, "p99p9": 99.9,
}  # fmt: skip
SOURCES = {"synthetic": "random", "prompts": "sampled", "dataset": "sampled", "trace": "random"}

# by its name in the report: the name in llmbench and the unit
LATENCIES = {
    "time_to_first_token": ("ttft", "s"),
    "time_per_output_token": ("tpot", "s/token"),
    "inter_token_latency": ("itl", "s/token"),
    "request_latency": ("e2e", "s"),
}
RATES = {
    "output_token_rate": ("output_tokens_per_second", "tokens/s"),
    "total_token_rate": ("total_tokens_per_second", "tokens/s"),
    "request_rate": ("requests_per_second", "queries/s"),
}
RESOURCES = {
    "kv_cache_usage": ("server_kv_cache_mean", "fraction"),
    "cache_hit_rate": ("server_prefix_cache_hit_share", "fraction"),
    "running_requests": ("server_running_mean", "count"),
    "waiting_requests": ("server_waiting_mean", "count"),
    "preemptions": ("server_preemptions", "count"),
    "power_consumption": ("energy_power_watts", "Watts"),
}

Json = dict[str, Any]


def as_benchmark_reports(run_set: RunSet) -> dict[str, str]:
    """Return the report of every measured run as JSON, by file name."""
    measured = [run for run in run_set.runs if not run.failure]
    reports = {f"{run.name}.json": report(run_set, run) for run in measured}
    return {name: json.dumps(content, indent=1) for name, content in reports.items()}


def report(run_set: RunSet, run: Run) -> Json:
    """Return the report of one run as JSON data; what is unknown is left out."""
    arrays = RecordArrays(run.records)
    values = summarize(run, arrays)
    performance = {
        "requests": _requests(arrays, values),
        "latency": _latencies(run, arrays, values),
        "throughput": _rates(values),
    }
    return {
        "version": VERSION,
        "run": _run(run_set, run, values),
        "scenario": {"stack": [_component(run)], "load": _load(run, arrays)},
        "results": {
            "request_performance": {"aggregate": _known(performance)},
            **_observability(values),
        },
    }


def _known(parts: Mapping[str, Any]) -> Json:
    return {key: part for key, part in parts.items() if part not in (None, {}, [])}


def _run(run_set: RunSet, run: Run, values: Mapping[str, Value]) -> Json:
    experiment = uuid.uuid5(uuid.NAMESPACE_OID, f"{run_set.name} {run_set.began_at}")
    seconds = values["makespan_seconds"].value
    time = {"start": run.began_at, "duration": None if seconds is None else f"PT{seconds:.6f}S"}
    return {
        "uid": str(uuid.uuid5(experiment, run.name)),
        "eid": str(experiment),
        "time": _known(time),
        "description": f"{run_set.name}: {run.case.name}, run {run.repeat}",
    }


# -- the scenario ----------------------------------------------------------------------------------


def _component(run: Run) -> Json:
    """Return the measured system as a component of kind ``generic``, whose other keys are free."""
    effective = run.backend_report.get("effective", {})
    is_local = "client" not in run.backend_report
    source = (run.case.spec.get("model") or {}).get("source")
    return {
        "metadata": {
            "schema_version": SCHEMA_OF_PARTS,
            "label": LABEL,
            "cfg_id": _hash(effective),
            "description": run.case.name,
        },
        "standardized": {
            "kind": "generic",
            "tool": run.case.backend,
            "tool_version": __version__ if is_local else "unknown",
            **_known({"model": {"name": source} if source else None}),
        },
        "native": {"config": _known({"effective": effective, "environment": run.environment})},
    }


def _load(run: Run, arrays: RecordArrays) -> Json:
    spec = run.case.spec
    load = spec.get("load") or {}
    concurrency = load.get("concurrency")
    prompts, outputs = (_length(arrays, f"{of}_tokens") for of in ("prompt", "output"))
    return {
        "metadata": {
            "schema_version": SCHEMA_OF_PARTS,
            "cfg_id": _hash(spec),
            "description": "Latencies count from when a request was due, not from sending.",
        },
        "standardized": {
            "tool": run.imported_from or TOOL,
            "tool_version": "unknown" if run.imported_from else __version__,
            "source": SOURCES.get((spec.get("workload") or {}).get("kind", ""), "unknown"),
            "input_seq_len": prompts or {"distribution": "other", "value": 0},
            **_known({
                "output_seq_len": outputs,
                "rate_qps": asked_rate(load) or None,
                "concurrency": concurrency if isinstance(concurrency, int) else None,
            }),
        },
        "native": {"config": spec},
    }  # fmt: skip


def _length(arrays: RecordArrays, column: str) -> Json:
    lengths = _finite(floats(arrays.measured[column]))
    if not len(lengths):
        return {}
    low, high = int(lengths.min()), int(lengths.max())
    if low == high:
        return {"distribution": "fixed", "value": low}
    bounds = {"min": low, "max": high}
    return {"distribution": "other", "value": float(lengths.mean()), **bounds}


def _hash(config: Any) -> str:
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# -- the results -----------------------------------------------------------------------------------


def _requests(arrays: RecordArrays, values: Mapping[str, Value]) -> Json:
    failed = values["failed_requests"]
    if not arrays.measured.num_rows:
        counts = {"total": failed.n, "failures": failed.value}
        return {} if failed.value is None else {key: int(n or 0) for key, n in counts.items()}
    finishes = pc.value_counts(arrays.measured["finish"]).to_pylist()
    by_finish = {each["values"]: each["counts"] for each in finishes}
    return _known({
        "total": arrays.measured.num_rows,
        "failures": by_finish.get("error", 0) + by_finish.get("rejected", 0),
        "incomplete": by_finish.get("unfinished", 0) + by_finish.get("abandoned", 0),
        "input_length": statistics(floats(arrays.good["prompt_tokens"]), "count"),
        "output_length": statistics(floats(arrays.good["output_tokens"]), "count"),
    })  # fmt: skip


def _latencies(run: Run, arrays: RecordArrays, values: Mapping[str, Value]) -> Json:
    if run.summary is not None:
        return _known({
            name: _summarized(values, latency, unit)
            for name, (latency, unit) in LATENCIES.items()
        })  # fmt: skip
    outputs = floats(arrays.good["output_tokens"])
    normalized = arrays.e2e / np.where(outputs > 0, outputs, np.nan)
    return _known({
        **{
            name: statistics(getattr(arrays, latency), unit)
            for name, (latency, unit) in LATENCIES.items()
        },
        "normalized_time_per_output_token": statistics(normalized, "s/token"),
    })  # fmt: skip


def _summarized(values: Mapping[str, Value], latency: str, unit: str) -> Json | None:
    known = {
        name: value.value
        for name in ("mean", *PERCENTILES)
        if (value := values.get(f"{latency}_{name}")) and value.value is not None
    }
    return {"units": unit, **known} if "mean" in known else None


def statistics(values: Floats, unit: str) -> Json | None:
    """Return the statistics of a sample, with percentiles by linear interpolation; None if empty.

    NaN is left out.
    """
    known = _finite(values)
    if not len(known):
        return None
    percentiles = np.percentile(known, list(PERCENTILES.values()))
    return {
        "units": unit,
        "mean": float(known.mean()),
        "stddev": float(known.std()),
        "min": float(known.min()),
        **dict(zip(PERCENTILES, percentiles.tolist(), strict=True)),
        "max": float(known.max()),
    }


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _rates(values: Mapping[str, Value]) -> Json:
    rates = {name: _mean(values[key], unit) for name, (key, unit) in RATES.items()}
    total, output = (values[RATES[f"{of}_token_rate"][0]].value for of in ("total", "output"))
    if total is not None and output is not None:
        rates["input_token_rate"] = {"units": "tokens/s", "mean": max(0.0, total - output)}
    return _known(rates)


def _mean(value: Value, unit: str) -> Json | None:
    return None if value.value is None else {"units": unit, "mean": float(value.value)}


def _observability(values: Mapping[str, Value]) -> Json:
    resources = _known({name: _mean(values[key], unit) for name, (key, unit) in RESOURCES.items()})
    if not resources:
        return {}
    return {"observability": {"components": [{"component_label": LABEL, "aggregate": resources}]}}
