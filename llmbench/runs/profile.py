"""A stored profile: one file of values, and one trace per phase and case.

results/<id>/
  profile.json                       every value, and the paths of the traces
  traces/<case>-<phase>.json.gz      for chrome://tracing and ui.perfetto.dev
  report.html                        generated from profile.json
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from llmbench import __version__
from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.caveats import Caveat
from llmbench.runs.checking import check_moment, check_part, checked
from llmbench.runs.files import read_json, write_json
from llmbench.runs.old_schemas import OLDEST_PROFILE, upgraded_profile
from llmbench.runs.redaction import redacted
from llmbench.runs.run import Failure
from llmbench.runs.run_set import Header
from llmbench.runs.shapes import (
    Amount,
    Count,
    Environment,
    Plain,
    Positive,
    StoredCase,
    StoredCaveat,
)
from llmbench.scenario.cases import Case

FILE, TRACES = "profile.json", "traces"
FORMAT, SCHEMA_VERSION = "llmbench profile", 2  # 2: the whole case in one place
REMEDY = "profile again"
TEXTS = ("description", "scenario_text", "overrides")  # that a user wrote
MEASURED = ("settings", "environment", "caveats", "failure")
TRACE = r"^traces/[A-Za-z0-9_][A-Za-z0-9_.-]*\Z"

Steps = Annotated[tuple[Positive, ...], Meta(min_length=1)]
Counts = Annotated[tuple[Count, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class KernelUse:
    """One kernel or operator: its calls and seconds per step, and its fraction of the step time."""

    name: str
    category: str
    calls: float
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Breakdown of the time of profiled steps.

    ``step_seconds`` has one value per step. ``shares`` are fractions of the step time by category
    and sum to 1. ``busy_seconds`` is the mean time per step in kernels or operators. ``kernels``
    counts the kernels of each step, or on the CPU all operator calls. ``launches`` counts the
    host's launch calls: one per CUDA graph, and on the CPU the top-level operator calls. ``uses``
    is sorted by descending share.
    """

    step_seconds: Steps
    busy_seconds: Amount
    shares: dict[str, float]
    kernels: Counts
    launches: Counts
    uses: tuple[KernelUse, ...]


@dataclass(frozen=True, slots=True)
class PhaseProfile:
    """The step times of one phase without the profiler, and their breakdown under it.

    ``prompt_tokens`` (of the prompts) and ``cache_tokens`` (in the cache after a step) are ranges;
    ``step_seconds`` are of steps without the profiler. ``trace`` is a path in the results folder.
    """

    phase: str
    rows: int
    prompt_tokens: tuple[int, int]
    cache_tokens: tuple[int, int]
    tokens_per_step: Positive
    step_seconds: Steps
    breakdown: Breakdown
    trace: Annotated[str, Meta(pattern=TRACE)]

    @property
    def seconds(self) -> float:
        """The median step time without the profiler, in seconds."""
        return statistics.median(self.step_seconds)

    @property
    def profiled_seconds(self) -> float:
        """The mean step time under the profiler in seconds, the denominator of the shares."""
        return statistics.fmean(self.breakdown.step_seconds)

    @property
    def ratio(self) -> float:
        """The median step time under the profiler, divided by the one without it."""
        return statistics.median(self.breakdown.step_seconds) / self.seconds

    @property
    def idle_seconds(self) -> float:
        """The host gap: mean seconds per profiled step in which no kernel or operator ran."""
        return self.profiled_seconds - self.breakdown.busy_seconds

    @property
    def launches_per_step(self) -> float:
        """The mean number of kernel launches by the host per step."""
        return statistics.fmean(self.breakdown.launches)

    @property
    def launches_per_token(self) -> float:
        """The mean number of kernel launches by the host per generated token."""
        return self.launches_per_step / self.tokens_per_step


@dataclass(frozen=True, slots=True)
class CaseProfile:
    """The profiled phases of a case, or its failure; ``device`` is torch's device type.

    There is no decode phase if every response has only one token.
    """

    case: Case
    device: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    phases: tuple[PhaseProfile, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Profile(Header):
    """The profile of a scenario: the finished cases, in the scenario's order.

    ``planned`` has the names of all its cases.
    """

    planned: tuple[str, ...]
    cases: tuple[CaseProfile, ...] = ()

    @property
    def failed(self) -> list[CaseProfile]:
        """The cases whose profiling failed."""
        return [case for case in self.cases if case.failure]

    def phases(self) -> Iterable[tuple[CaseProfile, PhaseProfile]]:
        """Yield every phase with its case."""
        return ((case, phase) for case in self.cases for phase in case.phases)


def create(profile: Profile) -> None:
    """Create the results folder of a profile; raises InputError on failure."""
    with store.new_folder(profile.folder, TRACES):
        _write(profile)


def add(folder: Path, case: CaseProfile) -> None:
    """Add the profile of a case to the profile stored in ``folder``."""
    profile = read(folder)
    _write(replace(profile, cases=(*profile.cases, case)))


def _write(profile: Profile) -> None:
    content = asdict(profile)
    del content["folder"]
    content |= redacted({name: content[name] for name in TEXTS})
    for case, stored in zip(profile.cases, content["cases"], strict=True):
        stored["caveats"] = [caveat.as_dict() for caveat in case.caveats]
        stored.update(redacted({name: stored[name] for name in MEASURED}))
    header = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "llmbench": __version__}
    write_json(profile.folder / FILE, {**header, **content})


def is_profile(folder: Path) -> bool:
    """Return whether a results folder contains a profile."""
    return (folder / FILE).is_file()


class _StoredCase(Struct):
    case: StoredCase
    device: str | None
    settings: Plain
    phases: tuple[PhaseProfile, ...]
    environment: Plain
    caveats: list[Plain]
    failure: Failure | None

    def __post_init__(self) -> None:
        check_part(self.environment, Environment, "environment")
        check_part(self.caveats, list[StoredCaveat], "caveats")

    def profile(self) -> CaseProfile:
        """Return the profile of the case."""
        return CaseProfile(
            case=self.case.case(),
            device=self.device,
            settings=self.settings,
            phases=self.phases,
            environment=self.environment,
            caveats=tuple(Caveat(**caveat) for caveat in self.caveats),
            failure=self.failure,
        )


class _Stored(Struct):
    """The content of `profile.json`."""

    name: str
    description: str
    began_at: str
    scenario_text: str
    overrides: tuple[str, ...]
    planned: tuple[str, ...]
    cases: tuple[_StoredCase, ...]

    def __post_init__(self) -> None:
        check_moment(self.began_at)


def read(folder: Path) -> Profile:
    """Read the profile in a results folder; raises InputError if unreadable or unsupported."""
    path = folder / FILE
    content = read_json(path, REMEDY)
    version = content.get("schema_version")
    if content.get("format") != FORMAT or version not in (OLDEST_PROFILE, SCHEMA_VERSION):
        versions = f"{OLDEST_PROFILE} or {SCHEMA_VERSION}"
        raise InputError(f"{path}: not an llmbench profile of version {versions}; {REMEDY}")
    stored = checked(upgraded_profile(content, path, REMEDY), _Stored, path, REMEDY)
    return Profile(
        folder=folder,
        name=stored.name,
        description=stored.description,
        began_at=stored.began_at,
        scenario_text=stored.scenario_text,
        overrides=stored.overrides,
        planned=stored.planned,
        cases=tuple(case.profile() for case in stored.cases),
    )
