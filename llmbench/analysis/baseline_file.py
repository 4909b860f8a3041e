"""Run sets boiled down to a value of each metric a process: small enough to be committed.

A summary reads back as a run set whose runs have no records, which is all that comparisons need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmbench.analysis.compare.differences import HARDWARE, SOFTWARE, meters_of
from llmbench.analysis.metrics import metric_key, summarize
from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.files import atomic_write
from llmbench.runs.run import Run
from llmbench.runs.store import PlannedRun, RunSet
from llmbench.scenario.cases import Case, normal_spec

FORMAT, VERSION = "llmbench summary", 1


def summary(run_set: RunSet) -> dict[str, Any]:
    """Boil a run set down; raises InputError where none of its runs was measured."""
    cases = [case_of(case, runs) for case, runs in run_set.by_case().items() if runs]
    if not cases:
        raise InputError(f"{run_set.folder}: holds no measured run")
    told = {"name": run_set.name, "began_at": run_set.began_at, "cases": cases}
    return {"format": FORMAT, "version": VERSION, **told}


def case_of(case: str, runs: list[Run]) -> dict[str, Any]:
    """Boil the runs of a case down; what surrounded them is that of the first."""
    first = runs[0]
    summaries = [summarize(run) for run in runs]
    known = [name for name in summaries[0] if all(s[name].value is not None for s in summaries)]
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
        "schedule": first.facts.get("schedule_sha256"),
        "energy": {
            name: {"method": method, "uuid": uuid}
            for name, (method, uuid) in meters_of(first).items()
        },
        "processes": [run.repeat for run in runs],
        "metrics": {
            name: {
                "values": [s[name].value for s in summaries],
                "n": [s[name].n for s in summaries],
            }
            for name in known
        },
    }


def write(run_set: RunSet, path: Path) -> None:
    """Write a summary whole or not at all, a line a list of numbers, so that a review can read it.

    Raises InputError where there is nothing to write or the file cannot be written.
    """
    text = "\n".join(_lines(summary(run_set), 0)) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _lines(node: Any, depth: int) -> Iterator[str]:
    """Write JSON with lists of plain values on one line."""
    inner, pad = " " * (depth + 1), " " * depth
    flat = not isinstance(node, (dict, list)) or not node
    if flat or (isinstance(node, list) and not any(isinstance(e, (dict, list)) for e in node)):
        yield json.dumps(node, ensure_ascii=False)
        return
    open_, close = ("{", "}") if isinstance(node, dict) else ("[", "]")
    items = node.items() if isinstance(node, dict) else ((None, each) for each in node)
    yield open_
    for place, (key, value) in enumerate(items, start=1):
        written = list(_lines(value, depth + 1))
        written[0] = inner + (f"{json.dumps(key)}: " if key is not None else "") + written[0]
        written[-1] += "," * (place < len(node))
        yield from written
    yield pad + close


def read(path: Path) -> RunSet:
    """Read a summary as a run set.

    Raises InputError when the file is none or of another version.
    """
    try:
        told = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: is no JSON: {error}") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise InputError(
            f"{path}: not written by `llmbench baseline` (its format is not {FORMAT!r})"
        )
    if told.get("version") != VERSION:
        raise InputError(
            f"{path}: is of version {told.get('version')}, and this llmbench reads {VERSION}; "
            "write it anew with `llmbench baseline`"
        )
    runs = [run for case in told["cases"] for run in runs_of(case, told["began_at"])]
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    return RunSet(path, told["name"], "", told["began_at"], "", (), {}, plan, tuple(runs))


def read_set(path: Path) -> RunSet:
    """Read a run set, whole from its folder or boiled down from a file."""
    return read(path) if path.is_file() else store.read(path)


def runs_of(case: dict[str, Any], began_at: str) -> list[Run]:
    """Give the runs that a summary of a case stands for."""
    run = Run(
        case=Case(
            case["case"], case["slug"], case["backend"], case["point"], normal_spec(case["spec"])
        ),
        repeat=0,
        began_at=began_at,
        environment=case["environment"],
        backend_report={"effective": case["effective"]},
        facts={"schedule_sha256": case["schedule"], "energy": case.get("energy", {})},
    )
    return [
        replace(
            run,
            repeat=repeat,
            summary={
                metric_key(name): (each["values"][place], each["n"][place])
                for name, each in case["metrics"].items()
            },
        )
        for place, repeat in enumerate(case["processes"])
    ]
