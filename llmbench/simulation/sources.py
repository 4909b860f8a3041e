"""The measured runs that a simulation is based on: which are alike, and at which loads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbench.analysis.compare.differences import hardware_of
from llmbench.analysis.harness_validity import validity_of
from llmbench.errors import InputError, shown
from llmbench.runs import store
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.scenario.server_settings import is_endpoint

LOADS = {"rate": "{:g}/s", "concurrency": "concurrency {:g}"}
OF_LOAD = ("load", "workload", "replicas", "requests", "duration")
MAX_NAMED = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured run and the folder that it comes from."""

    run: Run
    folder: Path

    def __str__(self) -> str:
        return f"{self.folder} ({self.run.case.name})"


def read(folders: Sequence[Path], case: str | None = None) -> list[Measured]:
    """Return the measured runs of results folders, of cases whose names contain ``case``.

    Raise InputError if there is none.
    """
    every = [
        Measured(run, folder)
        for folder in folders
        for runs in store.read(folder).by_case().values()
        for run in runs
    ]
    named = [one for one in every if case is None or case in one.run.case.name]
    places = ", ".join(map(str, folders))
    if not every:
        raise InputError(
            f"--from {places}: no measured run; complete it with llmbench run --resume"
        )
    if not named:
        raise InputError(
            f"--case {shown(case)}: no case of {places} has it in its name; found {_cases(every)}"
        )
    return named


def alike(measured: Sequence[Measured], asked: Sequence[Case]) -> tuple[list[Run], list[Case]]:
    """Return the runs and the asked cases that have the same backend, model and threads.

    Raise InputError if no steps were measured, no run is of an asked backend, the runs are of
    several asked ones, or they differ in engine settings or hardware.
    """
    _refuse_without_steps(measured)
    served = {_identity(case): case for case in asked}
    fitting = [one for one in measured if _identity(one.run.case) in served]
    if not fitting:
        raise InputError(_mismatch(measured[0], asked[0]))
    identities = {_identity(one.run.case) for one in fitting}
    if len(identities) > 1:
        raise InputError(
            f"the sources and the scenario have several backends: {_cases(fitting)}; choose one "
            "with --case, such as --case " + fitting[0].run.case.backend_name
        )
    for other in fitting[1:]:
        _refuse_unlike(fitting[0], other)
    return [one.run for one in fitting], [c for c in asked if _identity(c) in identities]


def by_load(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return runs by the load at which they were measured, as text."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_key({key: run.case.spec.get(key) for key in OF_LOAD}), []).append(run)
    labels = [_load(group[0].case) for group in groups.values()]
    return {
        label if labels.count(label) == 1 else f"{label}, {group[0].case.name} ({number})": group
        for number, (label, group) in enumerate(zip(labels, groups.values(), strict=True), start=1)
    }


def replicas_of(case: Case) -> int:
    """Return the number of replicas of a case."""
    return case.scenario.replicas.size if case.scenario.replicas else 1


def doubts(runs: Sequence[Run]) -> list[str]:
    """Return sentences on source runs that support no claims."""
    invalid = [run.name for run in runs if validity_of(run).verdict == "invalid"]
    blocked = [run.name for run in runs if any(caveat.blocks_claims for caveat in run.caveats)]
    named = list(dict.fromkeys(invalid + blocked))
    if not named:
        return []
    more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    runs_named = ", ".join(named[:MAX_NAMED])
    return [f"Source runs with caveats that support no claims: {runs_named}{more}."]


# -- what has to be alike --------------------------------------------------------------------------


def _refuse_without_steps(measured: Sequence[Measured]) -> None:
    for one in measured:
        if one.run.imported_from:
            raise InputError(
                f"--from {one}: imported from {one.run.imported_from}, which stores no steps; "
                "measure a local backend with llmbench run"
            )
        if is_endpoint({"kind": one.run.case.backend}):
            raise InputError(
                f"--from {one}: runs of endpoints have no steps, only a client's stamps; use runs "
                "of a local backend, or leave them out with --case"
            )


def _identity(case: Case) -> str:
    return _key(_settings(case))


def _settings(case: Case) -> dict[str, Any]:
    """Return what the step times of a case depend on, whatever its load and policies."""
    scenario = case.scenario
    model = scenario.model.model_dump(mode="json", exclude={"self_check"})
    backend = scenario.backends[0].model_dump(mode="json", exclude={"name"})
    return {
        "backend.kind": scenario.backends[0].kind,
        **{f"model.{key}": value for key, value in model.items()},
        **{f"backend.{key}": value for key, value in backend.items()},
        "parallel.tensor": scenario.parallel.tensor,
        "engine.threads": scenario.engine.threads,
    }


def _key(settings: Any) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _mismatch(measured: Measured, asked: Case) -> str:
    what, of_source, of_scenario = next(_different(_settings(measured.run.case), _settings(asked)))
    return (
        f"--from {measured}: was measured with {what} {shown(of_source)}, and the scenario has "
        f"{shown(of_scenario)}; use sources of the same model and backend"
    )


def _refuse_unlike(first: Measured, other: Measured) -> None:
    """Raise InputError if two sources differ in engine settings or hardware."""
    sides = (_conditions(first.run), _conditions(other.run))
    for what, before, after in _different(*sides):
        raise InputError(
            f"the sources differ in {what}: {shown(before)} in {first} and {shown(after)} in "
            f"{other}; leave one out, or choose cases with --case"
        )


def _conditions(run: Run) -> dict[str, Any]:
    engine = run.case.scenario.engine.model_dump(mode="json")
    return {**{f"engine.{k}": v for k, v in engine.items()}, **hardware_of(run.environment)}


def _different(
    first: dict[str, Any], second: dict[str, Any]
) -> Iterator[tuple[str, object, object]]:
    for key in {**first, **second}:
        if first.get(key) != second.get(key):
            yield key, first.get(key), second.get(key)


# -- words -----------------------------------------------------------------------------------------


def _load(case: Case) -> str:
    load = case.scenario.load
    words = (text.format(getattr(load, key)) for key, text in LOADS.items() if hasattr(load, key))
    label = next(words, load.kind)
    return f"{label}, {replicas_of(case)} replicas" if replicas_of(case) > 1 else label


def _cases(measured: Sequence[Measured]) -> str:
    names = list(dict.fromkeys(one.run.case.name for one in measured))
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{', '.join(names[:MAX_NAMED])}{more}"
