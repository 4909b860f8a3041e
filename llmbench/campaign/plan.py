"""Plan a scenario's runs in a seeded, interleaved order, and check what they need."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmbench import models
from llmbench.backends.base import BACKENDS
from llmbench.backends.replicas.cores import check_cores
from llmbench.campaign.engine_checks import check_is_used, check_queue
from llmbench.campaign.prepare import check_lengths
from llmbench.collectors.base import COLLECTORS
from llmbench.errors import InputError, printable
from llmbench.loads.schedule import LOADS
from llmbench.loads.stopping import stop_rule
from llmbench.runs import store
from llmbench.runs.redaction import find_secret
from llmbench.runs.run import Failure, PlannedRun
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source
from llmbench.scenario.mistakes import locate
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Scenario
from llmbench.scenario.slo import Objective
from llmbench.workloads.base import WORKLOADS, Workload

CheckCases = Callable[[Sequence[Case], Mapping[str, str]], None]  # with the places of keys
EARLY = 100  # requests whose lengths are checked before a worker starts


def planned_runs(source: Source) -> tuple[PlannedRun, ...]:
    """Return a scenario's runs in order: in each repeat, all cases once, in random order."""
    rng = stream(source.scenario.seed, "order of runs")
    return tuple(
        PlannedRun(case, repeat)
        for repeat in range(1, source.scenario.repeats + 1)
        for case in (source.cases[index] for index in rng.permutation(len(source.cases)))
    )


def check_here(cases: Sequence[Case], places: Mapping[str, str]) -> None:
    """Raise InputError if this machine lacks what a case needs, or a server refuses a request."""
    check_cases(cases, places)
    probe(cases, places)


def begin(
    source: Source,
    folder: Path,
    planned: tuple[PlannedRun, ...] | None = None,
    check_cases: CheckCases = check_here,
) -> RunSet:
    """Create a scenario's results folder with the plan ``planned``, by default all its runs.

    ``check_cases`` checks the machines that measure them. Raises InputError if a model, an extra or
    a file is unavailable there, a server refuses a first request or the folder cannot be used.
    """
    check(source, check_cases)
    run_set = RunSet(
        **header(source, folder),
        origins=source.places,
        plan=planned_runs(source) if planned is None else planned,
        ordered=tuple(case.name for case in source.cases),
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


def check_cases(cases: Sequence[Case], places: Mapping[str, str]) -> None:
    """Raise InputError if a model, an extra or a file that a case needs is unavailable.

    The message begins with the place of the key in the scenario.
    """
    for case in cases:
        _check(case, places)


def check(source: Source, check_cases: CheckCases = check_cases) -> None:
    """Raise InputError if a scenario contradicts itself, or lacks what ``check_cases`` checks.

    Also raise it if the scenario contains a secret of the environment.
    """
    if name := find_secret("\n".join((source.text, *source.overrides))):
        raise InputError(f"the scenario contains the value of {name}; write ${{{name}}} instead")
    with _located(source.places, "engine"):
        check_is_used(source.cases)
    reads = any(case.scenario.engine.queue.reads_priorities for case in source.cases)
    honored = {"priority"} if reads else set[str]()  # others of a sweep are compared with that case
    with _located(source.places, "workload"):
        for case in source.cases:
            _check_routes(case, honored)
    check_cases(source.cases, source.places)


def probe(cases: Iterable[Case], places: Mapping[str, str]) -> None:
    """Raise InputError if a system under test cannot be used, such as a server that refuses.

    ``places`` has where each key of the scenario was set, by dotted key.
    """
    probed: list[Any] = []
    for case in cases:
        scenario = case.scenario
        routes = WORKLOADS.part(scenario.workload).routes
        if (key := (case.backend_options, scenario.model, routes)) not in probed:
            probed.append(key)
            with _located(places, "backends"):
                BACKENDS.part(case.backend_options).probe(scenario.model, routes)


def _check(case: Case, places: Mapping[str, str]) -> None:
    scenario = case.scenario
    if scenario.nodes == "each" and "node" not in case.point:
        with _located(places, "nodes"):
            raise InputError(
                "`each` needs a fleet: `run` or `check` with --ray ADDRESS; or remove it"
            )
    with _located(places, "backends"):
        BACKENDS.require(case.backend)
    if scenario.replicas:
        with _located(places, "replicas"):
            check_cores(scenario.replicas)
    with _located(places, "collect"):
        for options in scenario.collect:
            COLLECTORS.require(options.kind)
    with _located(places, "load"):
        LOADS.require(scenario.load.kind)
        LOADS.part(scenario.load).check()
    with _located(places, "model"):
        models.check_source(scenario.model)
    with _located(places, "parallel"):
        BACKENDS.part(case.backend_options).check_parallel(scenario.parallel, scenario.model)
    with _located(places, "workload"):
        workload = WORKLOADS.part(scenario.workload)
        workload.check()
        _check_lengths(case, workload)
        _check_constraints(case, workload)
    with _located(places, "engine"):
        check_queue(case, workload)
    with _located(places, "slo"):
        _check_classes(case)
        _check_jobs(case)
    if quality := scenario.quality:
        from llmbench.quality.evaluate import read_text  # noqa: PLC0415 (rare, slow to import)

        with _located(places, "quality"):
            if quality.reference:
                BACKENDS.require(quality.reference.kind)
            read_text(quality)


@contextmanager
def _located(places: Mapping[str, str], key: str) -> Iterator[None]:
    """Begin the message of an InputError with the place of its own key, or else of ``key``."""
    try:
        yield
    except InputError as error:
        message = str(error)
        section = re.split(r"[.:]", message, maxsplit=1)[0]
        named = message if section in Scenario.model_fields else f"{key}: {message}"
        error.args = (printable(locate(named, places)),)
        raise


def located(failure: Failure, places: Mapping[str, str]) -> Failure:
    """Return a failure; one by bad input, with the place of the key that its message names."""
    if failure.kind != "bad-input":
        return failure
    return replace(failure, message=locate(failure.message, places))


def _check_lengths(case: Case, workload: Workload) -> None:
    """Raise InputError if the first requests of the first repeat exceed the model's context."""
    total = stop_rule(case.scenario).total
    seed = case.spec_of(1).get("seed", 0)
    check_lengths(case, workload, seed, min(EARLY, total or EARLY))


def _check_routes(case: Case, honored: Container[str]) -> None:
    """Raise InputError if requests of a class have what a local backend cannot honor."""
    if BACKENDS.find(case.backend).has_routes:
        return
    for name, route in WORKLOADS.part(case.scenario.workload).routes.items():
        if not (others := [key for key in route.given if key not in honored]):
            continue
        keys = ", ".join(f"`{key}`" for key in others)
        raise InputError(
            f"workload.classes.{name}: the backend `{case.backend}` runs one model in this process "
            f"and cannot honor {keys}; remove it, or measure an `endpoint`"
        )


def _check_constraints(case: Case, workload: Workload) -> None:
    """Raise InputError if a backend cannot constrain answers as a workload asks for."""
    if not workload.constraints:
        return
    BACKENDS.part(case.backend_options).check_constraints(workload.constraints)
    if not case.scenario.stop_at_eos:
        raise InputError(
            "workload: its rows constrain the answers (`response_format`, `tools`), which then end "
            "by themselves; set `stop_at_eos: true`"
        )


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


def _check_jobs(case: Case) -> None:
    """Raise InputError if an objective is one of jobs, and the workload has none."""
    of_jobs = [key for key in case.scenario.slo if Objective.of(key).is_of_jobs]
    if of_jobs and not WORKLOADS.part(case.scenario.workload).has_jobs:
        raise InputError(
            f"slo: {of_jobs[0]} is an objective of jobs, and the workload has none; use "
            "`workload: agents`, or an objective of requests such as e2e_p95"
        )
