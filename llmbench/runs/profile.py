"""A profile as it is stored: one file of figures, and a trace for each phase of each case.

results/<id>/
  profile.json                       every figure, and where the traces are
  traces/<case>-<phase>.json.gz      for chrome://tracing and ui.perfetto.dev
  report.html                        made from profile.json and replaceable
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llmbench import __version__
from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.caveats import Caveat
from llmbench.runs.files import atomic_write, converted, read_json
from llmbench.runs.run import Failure

FILE, TRACES = "profile.json", "traces"
HEADER = {"format": "llmbench profile", "schema_version": 1}


@dataclass(frozen=True, slots=True)
class KernelUse:
    """What one kernel or operator took of a step: calls and seconds a step, share of its time."""

    name: str
    category: str
    calls: float
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where the time of steps went.

    ``step_seconds`` are those of each step, profiled. ``shares`` are of all of them, by category,
    and sum to 1. ``busy_seconds`` is the mean of a step. ``kernels`` counts what ran in each step:
    kernels, or on the CPU all calls of operators. ``launches`` counts the calls by which the host
    set that going: one for a whole CUDA graph, and on the CPU those of operators that no other one
    called. ``uses`` has what took most first.
    """

    step_seconds: tuple[float, ...]
    busy_seconds: float
    shares: dict[str, float]
    kernels: tuple[int, ...]
    launches: tuple[int, ...]
    uses: tuple[KernelUse, ...]


@dataclass(frozen=True, slots=True)
class PhaseProfile:
    """What steps of one phase took, and where that went.

    ``prompt_tokens`` are those of the prompts and ``cache_tokens`` those in the cache after a step,
    each from the fewest to the most; ``step_seconds`` are of steps that were not profiled.
    ``trace`` is a path in the results folder.
    """

    phase: str
    rows: int
    prompt_tokens: tuple[int, int]
    cache_tokens: tuple[int, int]
    tokens_per_step: float
    step_seconds: tuple[float, ...]
    breakdown: Breakdown
    trace: str

    @property
    def seconds(self) -> float:
        """The median step, not profiled."""
        return statistics.median(self.step_seconds)

    @property
    def profiled_seconds(self) -> float:
        """The mean step while it was profiled, which the shares are of."""
        return statistics.fmean(self.breakdown.step_seconds)

    @property
    def ratio(self) -> float:
        """How many times as long the median step was while it was profiled."""
        return statistics.median(self.breakdown.step_seconds) / self.seconds

    @property
    def idle_seconds(self) -> float:
        """The host gap: what of a step, while it was profiled, nothing ran in."""
        return self.profiled_seconds - self.breakdown.busy_seconds

    @property
    def launches_per_step(self) -> float:
        """The mean."""
        return statistics.fmean(self.breakdown.launches)

    @property
    def launches_per_token(self) -> float:
        """Launches of all steps by the tokens that came of them."""
        return self.launches_per_step / self.tokens_per_step


@dataclass(frozen=True, slots=True)
class CaseProfile:
    """One case: its phases, or why it has none. ``device`` is torch's type of it.

    There is no decode where no request has an answer of more than one token.
    """

    case: str
    slug: str
    backend: str
    point: dict[str, Any]
    device: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    phases: tuple[PhaseProfile, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What was profiled of a scenario: the cases that are done, in its order."""

    folder: Path
    name: str
    description: str
    began_at: str
    scenario_text: str
    overrides: tuple[str, ...]
    planned: tuple[str, ...]
    cases: tuple[CaseProfile, ...] = ()

    @property
    def failed(self) -> list[CaseProfile]:
        """The cases that could not be profiled."""
        return [case for case in self.cases if case.failure]

    def phases(self) -> Iterable[tuple[CaseProfile, PhaseProfile]]:
        """Go through every phase, with its case."""
        return ((case, phase) for case in self.cases for phase in case.phases)


def create(profile: Profile) -> None:
    """Make the results folder of a profile; raises InputError when it cannot be made or is used."""
    store.make_folder(profile.folder, TRACES)
    _write(profile)


def add(folder: Path, case: CaseProfile) -> None:
    """Store a case: the file is replaced as a whole."""
    profile = read(folder)
    _write(replace(profile, cases=(*profile.cases, case)))


def _write(profile: Profile) -> None:
    told = asdict(profile)
    del told["folder"]
    for case, stored in zip(profile.cases, told["cases"], strict=True):
        stored["caveats"] = [caveat.as_dict() for caveat in case.caveats]
    text = json.dumps({**HEADER, "llmbench": __version__, **told}, indent=1, ensure_ascii=False)
    atomic_write(profile.folder / FILE, text)


def is_profile(folder: Path) -> bool:
    """Tell whether a results folder is that of a profile."""
    return (folder / FILE).is_file()


def read(folder: Path) -> Profile:
    """Read a profile back; raises InputError when it is none or of another version."""
    path, remedy = folder / FILE, "profile again"
    stored = read_json(path, remedy)
    if any(stored.get(key) != value for key, value in HEADER.items()):
        version = HEADER["schema_version"]
        raise InputError(f"{path}: is no profile of version {version}; {remedy}")
    caveats = [case.pop("caveats") for case in stored["cases"]]
    profile = converted({**stored, "folder": ""}, Profile, path, remedy)
    cases = (
        replace(case, caveats=tuple(Caveat(**caveat) for caveat in of_case))
        for case, of_case in zip(profile.cases, caveats, strict=True)
    )
    return replace(profile, folder=folder, cases=tuple(cases))
