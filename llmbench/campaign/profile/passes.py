"""The profiling pass over a scenario: one fresh process a case, in the scenario's order."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from llmbench.backends.base import BACKENDS
from llmbench.campaign import plan, worker
from llmbench.campaign.observer import Listener
from llmbench.campaign.process import THIS
from llmbench.campaign.profile.phases import implied_rows
from llmbench.errors import InputError
from llmbench.runs import profile
from llmbench.runs.profile import CaseProfile, Profile
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source

WORKER = "llmbench.campaign.profile.worker"


@dataclass(frozen=True, slots=True)
class Asked:
    """How to profile: steps of each phase, rows of a decode (None: as the load has it), marks."""

    steps: int
    rows: int | None = None
    nvtx: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(worker.Job):
    """A case for a worker to profile: ``scratch`` is a folder that is removed afterwards."""

    scratch: str
    steps: int
    rows: int | None
    nvtx: bool


class Observer(Listener, Protocol):
    """Somebody who watches the pass go on."""

    def began(self, case: str, index: int, total: int) -> None:
        """A case begins, the index-th (from 1) of all."""

    def ended(self, done: CaseProfile) -> None:
        """A case has been stored, profiled or failed."""


def begin(source: Source, folder: Path, asked: Asked) -> Profile:
    """Make the results folder for a scenario's profile.

    Raises InputError when a case cannot be profiled or the folder cannot be used.
    """
    plan.check(source)
    for case in source.cases:
        _check_backend(case.backend)
        implied_rows(case.scenario, asked.rows)
    made = Profile(
        folder=folder,
        name=source.scenario.name,
        description=source.scenario.description,
        began_at=datetime.now(UTC).isoformat(timespec="seconds"),
        scenario_text=source.text,
        overrides=source.overrides,
        planned=tuple(case.name for case in source.cases),
    )
    profile.create(made)
    return made


def _check_backend(kind: str) -> None:
    if not BACKENDS.find(kind).profilable:
        raise InputError(
            f"profile: backend {kind!r} does not run a model's steps in this process; profile a "
            "server with its own tools, and leave it out here with --set 'backends=[eager]'"
        )


def profile_all(folder: Path, cases: Sequence[Case], asked: Asked, observer: Observer) -> Profile:
    """Profile every case and give what is stored then.

    A case that fails is stored as failed and the rest go on. KeyboardInterrupt ends the case in
    progress and is passed on; finished ones are stored already.
    """
    for index, case in enumerate(cases, start=1):
        observer.began(case.name, index, len(cases))
        observer.ended(_profiled(folder, case, asked, observer))
    return profile.read(folder)


def _profiled(folder: Path, case: Case, asked: Asked, observer: Observer) -> CaseProfile:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".scratch-") as scratch:
        job = Job(
            folder=str(folder.absolute()),
            scratch=str(Path(scratch).absolute()),
            case=case,
            steps=asked.steps,
            rows=asked.rows,
            nvtx=asked.nvtx,
        )
        failure = THIS.launch(WORKER, job, case.scenario.timeout, observer)
    if failure:
        failed = CaseProfile(case.name, case.slug, case.backend, case.point, failure=failure)
        profile.add(folder, failed)
    return profile.read(folder).cases[-1]
