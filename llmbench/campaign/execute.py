"""Measure planned runs, each in its own worker process."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from llmbench.campaign.job import Job
from llmbench.campaign.observer import Observer
from llmbench.campaign.plan import located
from llmbench.campaign.process import THIS, WORKER, Launcher, Relay
from llmbench.runs import remote, store
from llmbench.runs.run import PlannedRun, Run
from llmbench.runs.run_set import RunSet


def run_all(run_set: RunSet, observer: Observer, relay: Relay | None = None) -> RunSet:
    """Measure the planned runs that are not yet measured; return the complete run set.

    A failed run is stored as failed, and the others continue. KeyboardInterrupt ends the current
    run and propagates; finished runs are already stored. A ``relay`` may have started a worker.
    """
    missing = run_set.missing
    with relay or Relay() as workers:
        for index, planned in enumerate(missing, start=1):
            workers.has_more = index < len(missing)
            observer.began(planned, index, len(missing))
            observer.ended(run_one(run_set, planned, observer, workers))
    return store.read(run_set.folder)


def run_more(
    run_set: RunSet,
    planned: PlannedRun,
    observer: Observer,
    launcher: Launcher = THIS,
    side: str = "",
) -> tuple[RunSet, Run]:
    """Measure one run, unless already measured, and add it to the plan if absent.

    Returns the run set with this run, and the run. ``side`` is the side of a check, for display.
    """
    for run in run_set.runs:
        if run.name == planned.name and not run.failure:
            return run_set, run
    if planned.name not in {known.name for known in run_set.plan}:
        run_set = store.extend(run_set, planned)
    observer.began(planned, len(run_set.plan), None, side)
    run = run_one(run_set, planned, observer, launcher)
    observer.ended(run)
    others = [other for other in run_set.runs if other.name != run.name]
    return replace(run_set, runs=(*others, run)), run


def run_one(
    run_set: RunSet, planned: PlannedRun, observer: Observer, launcher: Launcher = THIS
) -> Run:
    """Measure one planned run, and again while it is contaminated and attempts are left.

    `rerun_contaminated` is the number of further attempts. The last one is kept, or the one before
    it if it failed; the others are stored as discarded, and listed in the facts of the run. What is
    stored is pushed if the folder is in a store.
    """
    run = _kept(run_set, planned, observer, launcher)
    remote.try_push(run_set.folder)
    return run


def _kept(run_set: RunSet, planned: PlannedRun, observer: Observer, launcher: Launcher) -> Run:
    folder = run_set.folder
    run = _attempt(run_set, planned, observer, launcher)
    before = len(store.read_discarded(folder, planned))  # by a campaign that was interrupted
    for _ in range(before, planned.case.scenario.rerun_contaminated):
        if not run.contaminations:
            break
        observer.discarded(run)
        moved = store.discard(folder, run)
        again = _attempt(run_set, planned, observer, launcher)
        if again.failure:
            store.restore(folder, run, moved)
            break
        run = again
    discarded = [_as_fact(attempt) for attempt in store.read_discarded(folder, planned)]
    return store.with_facts(folder, run, discarded_attempts=discarded) if discarded else run


def _as_fact(attempt: Run) -> dict[str, Any]:
    return {
        "began_at": attempt.began_at,
        "caveats": [caveat.as_dict() for caveat in attempt.caveats],
        "failure": attempt.failure and attempt.failure.message,
    }


def _attempt(run_set: RunSet, planned: PlannedRun, observer: Observer, launcher: Launcher) -> Run:
    """Measure one planned run once in a worker; store a failed run if the worker fails.

    A worker that fails after it has stored the run, such as when it is killed, has measured it.
    """
    case, folder = planned.case, run_set.folder
    began_at = datetime.now(UTC).isoformat(timespec="seconds")
    job = Job(folder=str(folder), case=case, repeat=planned.repeat)
    failure = launcher.launch(WORKER, job, case.scenario.timeout, observer)
    if failure is None:
        return store.read_run(folder, planned)
    stored = store.find_run(folder, planned)
    if stored and not stored.failure:
        return stored
    failure = located(failure, run_set.origins)
    failed = Run(case, planned.repeat, began_at, failure=failure)
    store.write_run(folder, failed)
    return failed
