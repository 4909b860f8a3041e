"""Capacity: the highest load that meets the objectives, by doubling and bisection."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from llmbench.analysis.slo_attainment import Attainment, attainment
from llmbench.analysis.stats import min_samples_for_percentile
from llmbench.campaign import execute
from llmbench.campaign.observer import Observer
from llmbench.errors import InputError, MeasurementError
from llmbench.runs.run import PlannedRun, Run
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case, set_key
from llmbench.scenario.file import Source
from llmbench.scenario.schema import Scenario
from llmbench.scenario.slo import Objective

MOST_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest load that met the objectives and the lowest that did not (None: no such load)."""

    best: float | None
    missed: float | None
    probes: tuple[Attainment, ...]


def search(
    measure: Callable[[float], Attainment],
    start: float,
    most: float,
    tolerance: float,
    *,
    integer: bool = False,
) -> Capacity:
    """Find the highest load between ``start`` and ``most`` that meets the objectives.

    The load is doubled until an objective is missed. The interval is then bisected geometrically
    until the ratio of its ends is at most 1 + ``tolerance``. Loads have four significant digits, or
    are integers if ``integer`` is set. Attainment is assumed to be monotonic in the load.
    """
    probes: list[Attainment] = []

    def meets(at: float) -> bool:
        probes.append(measure(at))
        return probes[-1].met

    best, missed = _bracket(meets, start, most)
    while best is not None and missed is not None and missed / best > 1 + tolerance:
        middle = _rounded((best * missed) ** 0.5, integer=integer)
        if middle in (best, missed):
            break
        if meets(middle):
            best = middle
        else:
            missed = middle
    return Capacity(best, missed, tuple(probes))


def _rounded(load: float, *, integer: bool) -> float:
    return float(round(load)) if integer else float(f"{load:.4g}")  # part of the case's name


def _bracket(
    meets: Callable[[float], bool], start: float, most: float
) -> tuple[float | None, float | None]:
    best, at = None, start
    while meets(at):
        best = at
        if at >= most:
            return best, None
        at = min(at * 2, most)
    return best, at


@dataclass(slots=True)
class LoadTester:
    """Measures the only case of a scenario at a given load.

    Loads already measured by an interrupted search are not measured again.
    """

    run_set: RunSet
    case: Case
    key: str
    observer: Observer
    on_probe: Callable[[Attainment], None]

    def __call__(self, at: float) -> Attainment:
        """Repeat runs at a load until the objectives are met or missed; return the attainment.

        Stops early if the harness is the limit, and after MOST_REPEATS runs. Raises
        MeasurementError if a run fails.
        """
        runs: list[Run] = []
        while len(runs) < MOST_REPEATS:
            runs.append(self._run(at, len(runs) + 1))
            attained = attainment(at, runs)
            if attained.verdict != "open" or attained.harness_limited:
                break
        self.on_probe(attained)
        return attained

    def _run(self, at: float, repeat: int) -> Run:
        planned = self._planned(at, repeat)
        self.run_set, run = execute.run_more(self.run_set, planned, self.observer)
        if run.failure:
            raise MeasurementError(f"{run.name} failed: {run.failure.message}")
        return run

    def _planned(self, at: float, repeat: int) -> PlannedRun:
        value = int(at) if at == int(at) else at
        spec, point = deepcopy(self.case.spec), {self.key: value}
        set_key(spec, self.key, value)
        return PlannedRun(Case.of(Scenario.model_validate(spec), point), repeat)


def searched_key(case: Case) -> str:
    """Return the option to search, ``load.rate`` or ``load.concurrency``; InputError if neither."""
    for name in ("rate", "concurrency"):
        if name in type(case.scenario.load).model_fields:
            return f"load.{name}"
    raise InputError(f"peak: a {case.scenario.load.kind} load has no rate or concurrency to search")


def only_case(source: Source) -> Case:
    """Return the only case of a scenario; raises InputError if it cannot be searched.

    The scenario needs one backend, no sweep, objectives, and enough requests for their percentiles.
    """
    if len(source.cases) != 1:
        raise InputError("peak: searches one backend at a time; keep one and remove `sweep`")
    (case,) = source.cases
    if not case.scenario.slo:
        raise InputError("peak: the scenario has no `slo`; set an objective, for example ttft_p99")
    percent = max(Objective.of(key).percent for key in case.scenario.slo)
    floor, requests = min_samples_for_percentile(percent), case.scenario.requests
    if requests is not None and requests < floor:
        raise InputError(
            f"peak: {requests} requests are too few for a p{percent:g}; set `requests` to "
            f"{floor} or more"
        )
    return case
