"""Results in a format that `pytest-benchmark compare` reads; each process is a round."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmbench import __version__
from llmbench.analysis.metrics import METRICS
from llmbench.analysis.nodes import NODE
from llmbench.report.results import CaseResults, Results
from llmbench.runs.run_set import RunSet

WRITTEN = [f"{latency}_p{p}" for latency in ("ttft", "tpot", "itl", "e2e") for p in (50, 95, 99)]


def as_pytest_benchmark(run_set: RunSet) -> str:
    """Return the latency percentiles of every case in pytest-benchmark's JSON format."""
    results = Results(run_set)
    environments = [run.environment for run in run_set.runs if run.environment] or [{}]
    git = environments[0].get("git") or {}
    saved = {
        "machine_info": _shared(list(map(_machine, environments))),
        "commit_info": {"id": git.get("commit"), "dirty": git.get("dirty")},
        "benchmarks": [
            _benchmark(run_set.name, case, metric, values)
            for case in results.measured
            for metric in WRITTEN
            if (values := case.estimates[metric].values)
        ],
        "datetime": run_set.began_at,
        "version": f"llmbench {__version__}",
    }
    return json.dumps(saved, indent=1)


def _shared(machines: Sequence[Any]) -> Any:
    """Return what all machines have in common; None where they differ, as kinds of node do."""
    first = machines[0]
    if isinstance(first, dict):
        return {key: _shared([machine[key] for machine in machines]) for key in first}
    return first if all(machine == first for machine in machines) else None


def _of_node(case: CaseResults) -> dict[str, Any]:
    """Return the machine of a case that was measured on one of several kinds of node."""
    if NODE not in case.point:
        return {}
    return {"machine": _shared([_machine(run.environment) for run in case.runs])}


def _machine(environment: dict[str, Any]) -> dict[str, Any]:
    cpu, system = environment.get("cpu") or {}, environment.get("system") or {}
    return {
        "machine": system.get("machine"),
        "python_version": system.get("python"),
        "system": str(system.get("os")).partition("-")[0],
        "cpu": {"brand_raw": cpu.get("model"), "count": cpu.get("logical_cores")},
        "gpus": [gpu.get("name") for gpu in environment.get("gpus") or []],
    }


def _benchmark(
    group: str, case: CaseResults, metric: str, values: tuple[float, ...]
) -> dict[str, Any]:
    name = f"{case.name}[{METRICS[metric].label}]"
    return {
        "group": group,
        "name": name,
        "fullname": f"{group}::{name}",
        "params": None,
        "param": None,
        "extra_info": {"metric": metric, **_of_node(case)},
        "options": {"timer": "llmbench"},
        "stats": statistics(values),
    }


def statistics(data: Sequence[float]) -> dict[str, Any]:
    """Return the values' statistics as pytest_benchmark.stats.Stats does, with Hazen quartiles.

    Outliers are counted in two ways: values more than one standard deviation from the mean, and
    values more than 1.5 IQR outside the quartiles.
    """
    values = np.asarray(data, dtype=np.float64)
    q1, median, q3 = np.percentile(values, [25, 50, 75], method="hazen")
    mean, deviation = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    within = values[(values >= low) & (values <= high)]
    far = {
        "iqr_outliers": int(((values < low) | (values > high)).sum()),
        "stddev_outliers": int((np.abs(values - mean) > deviation).sum()),
    }
    return {
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(values),
        "median": float(median),
        "iqr": float(q3 - q1),
        "q1": float(q1),
        "q3": float(q3),
        **far,
        "outliers": f"{far['stddev_outliers']};{far['iqr_outliers']}",
        "ld15iqr": float(within.min()),
        "hd15iqr": float(within.max()),
        "ops": 1 / mean if mean else 0,
        "total": float(values.sum()),
        "data": values.tolist(),
        "iterations": 1,
    }
