"""Baseline files: one value of each metric per process, small enough to commit.

A file reads back as a run set without records, which suffices for comparisons.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from llmbench.analysis.compare.differences import HARDWARE, SOFTWARE, hardware_of, meters_of
from llmbench.analysis.compare.judge import Processes
from llmbench.analysis.metrics import metric_key
from llmbench.analysis.nodes import NODE
from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.checking import check_moment, check_part, check_unique, checked
from llmbench.runs.files import read_json, write_text
from llmbench.runs.old_schemas import spec_before_draws
from llmbench.runs.run import PlannedRun, Run
from llmbench.runs.run_set import RunSet
from llmbench.runs.shapes import Count, Effective, Environment, Meter, Plain, Repeat, Slug, Spec
from llmbench.scenario.cases import Case, normal_spec

FORMAT, VERSION = "llmbench summary", 2
REMEDY = "recreate it with `llmbench baseline`"
FLAT_LIST = re.compile(r"\[\n((?:\s+[^\s\[\]{}].*\n)+)\s*\]")  # of plain values, each on a line


class _StoredMetric(msgspec.Struct):
    values: tuple[float, ...]
    n: tuple[Count, ...]


class _Machine(msgspec.Struct, kw_only=True):
    """One of the machines of a case, and the processes that were measured on it."""

    environment: Plain
    energy: Plain = {}
    node: Plain | None = None
    processes: tuple[Repeat, ...]

    def __post_init__(self) -> None:
        check_part(self.environment, Environment, "environment")
        check_part(self.energy, dict[str, Meter], "energy")


class SummarizedCase(msgspec.Struct, kw_only=True):
    """The summary of a case in a baseline file or a history store."""

    case: str
    slug: Slug
    backend: str
    point: Plain
    spec: Plain
    commit: str | None = None
    environment: Plain
    effective: Plain
    schedules: tuple[str | None, ...] = ()
    schedule: str | None = None  # version 1: that of all processes
    energy: Plain = {}
    machines: tuple[_Machine, ...] = ()  # of several nodes; else the one above is that of all
    processes: tuple[Repeat, ...]
    metrics: dict[str, _StoredMetric]

    def __post_init__(self) -> None:
        self.spec = normal_spec(self.spec)
        check_part(self.spec, Spec, "spec")
        check_part(self.environment, Environment, "environment")
        check_part(self.effective, Effective, "effective")
        check_part(self.energy, dict[str, Meter], "energy")
        check_unique("processes", self.processes)
        lengths = [len(part) for m in self.metrics.values() for part in (m.values, m.n)]
        lengths += [len(self.schedules)] if self.schedules else []
        if not self.processes or any(length != len(self.processes) for length in lengths):
            raise ValueError("expected one value, count and schedule for each of `processes`")
        measured = [repeat for machine in self.machines for repeat in machine.processes]
        if self.machines and sorted(measured) != sorted(self.processes):
            raise ValueError("expected each of `processes` on one of the `machines`")


class _Stored(msgspec.Struct):
    """The content of a baseline file."""

    format: Literal["llmbench summary"]
    version: Literal[1, 2]
    name: str
    began_at: str
    cases: tuple[SummarizedCase, ...]

    def __post_init__(self) -> None:
        check_moment(self.began_at)
        check_unique("names of cases", (case.case for case in self.cases))


def summary(run_set: RunSet) -> dict[str, Any]:
    """Return the content of a run set's baseline file; raise InputError if none was measured."""
    cases = [case_of(case, runs) for case, runs in run_set.by_case().items() if runs]
    if not cases:
        raise InputError(f"{run_set.folder}: no measured run")
    named = {"name": run_set.name, "began_at": run_set.began_at, "cases": cases}
    return {"format": FORMAT, "version": VERSION, **named}


def case_of(case: str, runs: list[Run]) -> dict[str, Any]:
    """Return a case's metrics, one value per process, and its machines."""
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
        "environment": _environment(first),
        "effective": first.backend_report.get("effective", {}),
        "schedules": [run.facts.get("schedule_sha256") for run in runs],
        "energy": _energy(first),
        **_machines(runs),
        "processes": [run.repeat for run in runs],
        "metrics": {
            key: {"values": [s[key].value for s in summaries], "n": [s[key].n for s in summaries]}
            for key in known
        },
    }


def _environment(run: Run) -> Plain:
    tops = dict.fromkeys(path.partition(".")[0] for path in (*HARDWARE, *SOFTWARE))
    return {top: run.environment[top] for top in tops if top in run.environment}


def _energy(run: Run) -> Plain:
    return {
        name: {"method": method, "uuid": uuid} for name, (method, uuid) in meters_of(run).items()
    }


def _machines(runs: Sequence[Run]) -> Plain:
    """Return the machines of runs with their processes; empty for one machine without a node."""
    machines: dict[str, list[Run]] = {}
    for run in runs:
        parts = hardware_of(run.environment), meters_of(run), run.facts.get(NODE)
        machines.setdefault(json.dumps(parts, sort_keys=True), []).append(run)
    if len(machines) == 1 and NODE not in runs[0].facts:
        return {}
    return {
        "machines": [
            {
                "environment": _environment(of[0]),
                "energy": _energy(of[0]),
                "node": of[0].facts.get(NODE),
                "processes": [run.repeat for run in of],
            }
            for of in machines.values()
        ]
    }


def write(run_set: RunSet, path: Path) -> None:
    """Write a baseline file atomically, with one line per metric for readable diffs.

    Raise InputError if no run was measured or the file cannot be written.
    """
    text = json.dumps(summary(run_set), indent=1, ensure_ascii=False)
    write_text(path, FLAT_LIST.sub(_on_one_line, text) + "\n")


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + ", ".join(item.strip() for item in match[1].split(",\n")) + "]"


def read(path: Path) -> RunSet:
    """Read a baseline file as a run set.

    Raise InputError if it is not a baseline file or has another version.
    """
    stored = checked(read_json(path, REMEDY), _Stored, path, REMEDY)
    runs = [run for case in stored.cases for run in runs_of(case, stored.began_at)]
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    return RunSet(path, stored.name, "", stored.began_at, "", (), {}, plan, tuple(runs))


def read_set(path: Path) -> RunSet:
    """Read a run set from its folder or from a baseline file."""
    return read(path) if path.is_file() else store.read(path)


def runs_of(stored: SummarizedCase, began_at: str) -> list[Run]:
    """Return the runs of a case, rebuilt from its summary without records."""
    spec, schedules = stored.spec, stored.schedules
    if not schedules:
        spec, schedules = spec_before_draws(spec), (stored.schedule,) * len(stored.processes)
    case = Case(stored.case, stored.slug, stored.backend, stored.point, spec)
    machines = {repeat: machine for machine in stored.machines for repeat in machine.processes}
    alone = _Machine(environment=stored.environment, energy=stored.energy, processes=())
    return [
        Run(
            case=case,
            repeat=repeat,
            began_at=began_at,
            environment=machine.environment,
            backend_report={"effective": stored.effective},
            facts={
                "schedule_sha256": schedule,
                "energy": machine.energy,
                **({NODE: machine.node} if machine.node else {}),
            },
            summary={
                metric_key(key): (metric.values[index], metric.n[index])
                for key, metric in stored.metrics.items()
            },
        )
        for index, (repeat, schedule) in enumerate(zip(stored.processes, schedules, strict=True))
        for machine in [machines.get(repeat, alone)]
    ]
