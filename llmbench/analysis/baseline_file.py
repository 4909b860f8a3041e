"""Baseline files: one value of each metric per process, small enough to commit.

A file reads back as a run set without records, which suffices for comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from llmbench.analysis.compare.differences import HARDWARE, SOFTWARE, meters_of
from llmbench.analysis.compare.judge import Processes
from llmbench.analysis.metrics import metric_key
from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.files import atomic_write, converted, read_json
from llmbench.runs.old_schemas import spec_before_draws
from llmbench.runs.run import Run
from llmbench.runs.run_set import PlannedRun, RunSet
from llmbench.scenario.cases import Case, normal_spec

FORMAT, VERSION = "llmbench summary", 2
REMEDY = "recreate it with `llmbench baseline`"


class _StoredMetric(msgspec.Struct):
    values: tuple[float, ...]
    n: tuple[int, ...]


class StoredCase(msgspec.Struct, kw_only=True):
    """The summary of a case in a baseline file or a history store."""

    case: str
    slug: str
    backend: str
    point: dict[str, Any]
    spec: dict[str, Any]
    commit: str | None = None
    environment: dict[str, Any]
    effective: dict[str, Any]
    schedules: tuple[str | None, ...] = ()
    schedule: str | None = None  # version 1: that of all processes
    energy: dict[str, Any] = {}
    processes: tuple[int, ...]
    metrics: dict[str, _StoredMetric]


class _Stored(msgspec.Struct):
    """The content of a baseline file."""

    format: Literal["llmbench summary"]
    version: Literal[1, 2]
    name: str
    began_at: str
    cases: tuple[StoredCase, ...]


def summary(run_set: RunSet) -> dict[str, Any]:
    """Return the content of a run set's baseline file; raises InputError without a measured run."""
    cases = [case_of(case, runs) for case, runs in run_set.by_case().items() if runs]
    if not cases:
        raise InputError(f"{run_set.folder}: no measured run")
    named = {"name": run_set.name, "began_at": run_set.began_at, "cases": cases}
    return {"format": FORMAT, "version": VERSION, **named}


def case_of(case: str, runs: list[Run]) -> dict[str, Any]:
    """Return a case's metrics, one value per process, and the environment of its first run."""
    first = runs[0]
    summaries = Processes.of(runs).summaries
    known = [key for key in summaries[0] if all(s[key].value is not None for s in summaries)]
    return {
        "case": case,
        "slug": first.case.slug,
        "backend": first.case.backend,
        "point": first.case.point,
        "spec": first.case.spec,
        "commit": (first.environment.get("git") or {}).get("commit"),
        "environment": {
            top: first.environment[top]
            for top in dict.fromkeys(path.partition(".")[0] for path in (*HARDWARE, *SOFTWARE))
            if top in first.environment
        },
        "effective": first.backend_report.get("effective", {}),
        "schedules": [run.facts.get("schedule_sha256") for run in runs],
        "energy": {
            name: {"method": method, "uuid": uuid}
            for name, (method, uuid) in meters_of(first).items()
        },
        "processes": [run.repeat for run in runs],
        "metrics": {
            key: {"values": [s[key].value for s in summaries], "n": [s[key].n for s in summaries]}
            for key in known
        },
    }


def write(run_set: RunSet, path: Path) -> None:
    """Write a baseline file atomically, with one line per metric for readable diffs.

    Raises InputError if no run was measured or the file cannot be written.
    """
    text = "\n".join(_lines(summary(run_set), 0)) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _lines(node: Any, depth: int) -> Iterator[str]:
    """Yield lines of JSON, each list of plain values on a single line."""
    inner, pad = " " * (depth + 1), " " * depth
    flat = not isinstance(node, (dict, list)) or not node
    if flat or (isinstance(node, list) and not any(isinstance(e, (dict, list)) for e in node)):
        yield json.dumps(node, ensure_ascii=False)
        return
    open_, close = ("{", "}") if isinstance(node, dict) else ("[", "]")
    items = node.items() if isinstance(node, dict) else ((None, inner) for inner in node)
    yield open_
    for number, (key, value) in enumerate(items, start=1):
        written = list(_lines(value, depth + 1))
        written[0] = inner + (f"{json.dumps(key)}: " if key is not None else "") + written[0]
        written[-1] += "," * (number < len(node))
        yield from written
    yield pad + close


def read(path: Path) -> RunSet:
    """Read a baseline file as a run set.

    Raises InputError if it is not a baseline file or has another version.
    """
    stored = converted(read_json(path, REMEDY), _Stored, path, REMEDY)
    runs = [run for case in stored.cases for run in runs_of(case, stored.began_at)]
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    return RunSet(path, stored.name, "", stored.began_at, "", (), {}, plan, tuple(runs))


def read_set(path: Path) -> RunSet:
    """Read a run set from its folder or from a baseline file."""
    return read(path) if path.is_file() else store.read(path)


def runs_of(stored: StoredCase, began_at: str) -> list[Run]:
    """Return the runs of a case, rebuilt from its summary without records."""
    spec, schedules = normal_spec(stored.spec), stored.schedules
    if not schedules:
        spec, schedules = spec_before_draws(spec), (stored.schedule,) * len(stored.processes)
    run = Run(
        case=Case(stored.case, stored.slug, stored.backend, stored.point, spec),
        repeat=0,
        began_at=began_at,
        environment=stored.environment,
        backend_report={"effective": stored.effective},
    )
    return [
        replace(
            run,
            repeat=repeat,
            facts={"schedule_sha256": schedule, "energy": stored.energy},
            summary={
                metric_key(key): (metric.values[index], metric.n[index])
                for key, metric in stored.metrics.items()
            },
        )
        for index, (repeat, schedule) in enumerate(zip(stored.processes, schedules, strict=True))
    ]
