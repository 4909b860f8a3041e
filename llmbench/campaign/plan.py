"""Plan a scenario's runs in a seeded, interleaved order, and check what they need."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmbench import models
from llmbench.backends.base import BACKENDS
from llmbench.errors import InputError
from llmbench.loads.schedule import LOADS
from llmbench.quality.evaluate import read_text
from llmbench.runs import store
from llmbench.runs.run import PlannedRun
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source
from llmbench.scenario.rng import stream
from llmbench.scenario.slo import Objective
from llmbench.workloads.base import WORKLOADS


def planned_runs(source: Source) -> tuple[PlannedRun, ...]:
    """Return a scenario's runs in order: in each repeat, all cases once, in random order."""
    rng = stream(source.scenario.seed, "order of runs")
    return tuple(
        PlannedRun(case, repeat)
        for repeat in range(1, source.scenario.repeats + 1)
        for case in (source.cases[index] for index in rng.permutation(len(source.cases)))
    )


def begin(source: Source, folder: Path, planned: tuple[PlannedRun, ...] | None = None) -> RunSet:
    """Create a scenario's results folder with the plan ``planned``, by default all its runs.

    Raises InputError if a model, an extra or a file is unavailable or the folder cannot be used.
    """
    check(source)
    run_set = RunSet(
        **header(source, folder),
        origins={".".join(map(str, at)): origin for at, origin in source.origins.items() if at},
        plan=planned_runs(source) if planned is None else planned,
    )
    store.create(run_set)
    return run_set


def header(source: Source, folder: Path) -> dict[str, Any]:
    """Return the fields of the `Header` of a scenario's results, which begin now."""
    return {
        "folder": folder,
        "name": source.scenario.name,
        "description": source.scenario.description,
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario_text": source.text,
        "overrides": source.overrides,
    }


def check(source: Source) -> None:
    """Raise InputError if a model, an extra or a file that a scenario needs is unavailable."""
    for case in source.cases:
        BACKENDS.require(case.backend)
        LOADS.require(case.scenario.load.kind)
        models.check_source(case.scenario.model)
        LOADS.part(case.scenario.load).check()
        WORKLOADS.part(case.scenario.workload).check()
        _check_classes(case)
        if quality := case.scenario.quality:
            BACKENDS.require(quality.reference.kind)
            read_text(quality)


def _check_classes(case: Case) -> None:
    """Raise InputError if an objective names a request class that the workload lacks."""
    classes = {Objective.of(key).request_class for key in case.scenario.slo} - {None}
    if not classes:
        return
    known = WORKLOADS.part(case.scenario.workload).classes
    if unknown := sorted(map(str, classes - known)):
        raise InputError(
            f"slo: the workload has no requests of class {', '.join(unknown)}; "
            + (f"it has {', '.join(sorted(known))}" if known else "see `workload: mixed`")
        )
