"""Stored run sets of a few requests, for tests of what lists, serves and compares them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmbench.runs import store
from llmbench.runs.record import Record
from llmbench.runs.run import PlannedRun, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case, normal_spec

BEGAN = "2026-01-01T00:00:00+00:00"
SPEC: dict[str, Any] = {"model": {"source": "builtin:tiny"}, "load": {"kind": "closed"}}


def records(ttft: float = 0.25, requests: int = 12) -> list[Record]:
    """Return requests, one per second, of two tokens each, every gap longer than the last."""
    return [
        Record(i, "measured", float(i), float(i), float(i),
               (i + ttft, i + ttft + 0.25 + i / 500), (1, 1), 4, 2, "length")
        for i in range(requests)
    ]  # fmt: skip


def planned(case: str, repeat: int, **spec: Any) -> PlannedRun:
    return PlannedRun(
        Case(case, case.encode().hex()[:40], "fake", {}, normal_spec({**SPEC, **spec})), repeat
    )


def run_of(plan: PlannedRun, ttft: float = 0.25, **more: Any) -> Run:
    plain: dict[str, Any] = {"records": records_table(records(ttft))}
    return Run(plan.case, plan.repeat, BEGAN, **{**plain, **more})


def begun(folder: Path, plan: Sequence[PlannedRun], name: str = "small", **more: Any) -> RunSet:
    """Store a run set without a run."""
    texts: dict[str, Any] = {"description": "", "scenario_text": "name: small\n", **more}
    run_set = RunSet(
        folder, name, began_at=BEGAN, overrides=(), origins={}, plan=tuple(plan), **texts
    )
    store.create(run_set)
    return run_set


def stored(
    folder: Path, *ttfts: float, case: str = "eager", name: str = "small", **of: Any
) -> Path:
    """Store a run set of one case, one process per TTFT, and return its folder."""
    plan = [planned(case, repeat) for repeat, _ in enumerate(ttfts or (0.25,), start=1)]
    begun(folder, plan, name)
    for run, ttft in zip(plan, ttfts or (0.25,), strict=True):
        store.write_run(folder, run_of(run, ttft, **of))
    return folder
