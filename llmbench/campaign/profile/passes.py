"""The profiling pass over a scenario: one fresh process per case, in scenario order."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from llmbench.backends.base import BACKENDS
from llmbench.campaign import job, plan
from llmbench.campaign.observer import Listener
from llmbench.campaign.process import THIS
from llmbench.campaign.profile.phases import implied_rows
from llmbench.errors import InputError
from llmbench.runs import profile
from llmbench.runs.profile import CaseProfile, Profile
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source
from llmbench.scenario.mistakes import locate

WORKER = "llmbench.campaign.profile.worker"


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """Steps per phase, rows per decode step (None: see `implied_rows`), and whether to mark steps.

    ``nvtx`` marks are for Nsight Systems.
    """

    steps: int
    rows: int | None = None
    nvtx: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(job.Job):
    """A case for a worker to profile; ``scratch`` is a folder for its temporary files."""

    scratch: str
    steps: int
    rows: int | None
    nvtx: bool


class Observer(Listener, Protocol):
    """Receives the events of a profiling pass."""

    def began(self, case: str, index: int, total: int) -> None:
        """Called when a case begins, with its number, from 1."""

    def ended(self, done: CaseProfile) -> None:
        """Called when a case, profiled or failed, has been stored."""


def begin(source: Source, folder: Path, options: ProfileOptions) -> Profile:
    """Create the results folder of a scenario's profile.

    Raises InputError if a case cannot be profiled or the folder cannot be used.
    """
    plan.check(source)
    for case in source.cases:
        _check_backend(case.backend)
        _check_replicas(case, source)
        implied_rows(case.scenario, options.rows)
    planned = tuple(case.name for case in source.cases)
    empty = Profile(**plan.header(source, folder), planned=planned)
    profile.create(empty)
    return empty


def _check_backend(kind: str) -> None:
    if not BACKENDS.find(kind).profilable:
        raise InputError(
            f"profile: backend {kind!r} does not run the model in this process; profile a server "
            "with its own tools, and select other backends here with --set 'backends=[eager]'"
        )


def _check_replicas(case: Case, source: Source) -> None:
    if case.scenario.replicas:
        message = "replicas: a profile is of one engine; profile it with --set replicas=null"
        raise InputError(locate(message, source.places))


def profile_all(
    folder: Path, source: Source, options: ProfileOptions, observer: Observer
) -> Profile:
    """Profile every case and return the stored profile.

    A failed case is stored as failed, and the others continue. KeyboardInterrupt ends the current
    case and propagates; finished cases are already stored.
    """
    for index, case in enumerate(source.cases, start=1):
        observer.began(case.name, index, len(source.cases))
        observer.ended(_profiled(folder, source, case, options, observer))
    return profile.read(folder)


def _profiled(
    folder: Path, source: Source, case: Case, options: ProfileOptions, observer: Observer
) -> CaseProfile:
    root = folder.absolute()
    with tempfile.TemporaryDirectory(dir=root, prefix=".scratch-") as scratch:
        job = Job(folder=str(root), scratch=scratch, case=case, **asdict(options))
        failure = THIS.launch(WORKER, job, case.scenario.timeout, observer)
    if failure:
        profile.add(folder, CaseProfile(case, failure=plan.located(failure, source.places)))
    return profile.read(folder).cases[-1]
