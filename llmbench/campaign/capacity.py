"""Find the highest load that meets the objectives: bracket it by doubling, then bisect."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from llmbench.analysis.slo_attainment import Attainment, attainment
from llmbench.analysis.stats import min_samples_for_percentile
from llmbench.campaign import execute
from llmbench.campaign.observer import Observer
from llmbench.errors import InputError, MeasurementError
from llmbench.runs import store
from llmbench.runs.run import Run
from llmbench.runs.store import PlannedRun, RunSet
from llmbench.scenario.cases import Case, set_key
from llmbench.scenario.file import Source
from llmbench.scenario.schema import Objective, Scenario

MOST_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest load that met the objectives and the lowest that did not; None: none did."""

    best: float | None
    missed: float | None
    probes: tuple[Attainment, ...]


def search(
    measure: Callable[[float], Attainment],
    start: float,
    most: float,
    tolerance: float,
    *,
    whole: bool = False,
) -> Peak:
    """Find the highest load between ``start`` and ``most`` that meets the objectives.

    Doubles until one is missed, then halves the ratio of the two until they are no more than
    ``tolerance`` (0.05: 5 %) apart, in numbers of four digits. It assumes that a higher load is
    never better. ``whole`` keeps to whole numbers.
    """
    probes: list[Attainment] = []

    def meets(at: float) -> bool:
        probes.append(measure(at))
        return probes[-1].met

    best, missed = _bracket(meets, start, most)
    while best is not None and missed is not None and missed / best > 1 + tolerance:
        middle = _neat((best * missed) ** 0.5, whole=whole)
        if middle in (best, missed):
            break
        if meets(middle):
            best = middle
        else:
            missed = middle
    return Peak(best, missed, tuple(probes))


def _neat(load: float, *, whole: bool) -> float:
    return float(round(load)) if whole else float(f"{load:.4g}")  # it becomes part of a name


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
class Seeker:
    """Measures a scenario's one case at any load, and keeps what it measures.

    A load that was measured before, in an interrupted search, is not measured again.
    """

    run_set: RunSet
    case: Case
    key: str
    observer: Observer
    on_probe: Callable[[Attainment], None]

    def __call__(self, at: float) -> Attainment:
        """Measure at a load until its objectives are met or missed, three times at the most.

        Raises MeasurementError when a run fails.
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
        kept = next((run for run in self.run_set.runs if run.name == planned.name), None)
        if kept and not kept.failure:
            return kept
        if planned.name not in {each.name for each in self.run_set.plan}:
            self.run_set = store.extend(self.run_set, planned)
        self.observer.began(planned, len(self.run_set.plan), None)
        run = execute.run_one(self.run_set.folder, planned, self.observer)
        self.observer.ended(run)
        if run.failure:
            raise MeasurementError(f"{run.name} failed: {run.failure.message}")
        return run

    def _planned(self, at: float, repeat: int) -> PlannedRun:
        value = int(at) if at == int(at) else at
        spec, point = deepcopy(self.case.spec), {self.key: value}
        set_key(spec, self.key, value)
        return PlannedRun(Case.of(Scenario.model_validate(spec), point), repeat)


def searched_key(case: Case) -> str:
    """Tell what to search: a rate or a concurrency; raises InputError when the load has neither."""
    for name in ("rate", "concurrency"):
        if name in type(case.scenario.load).model_fields:
            return f"load.{name}"
    raise InputError(f"peak: load {case.scenario.load.kind} has no rate and no concurrency to find")


def only_case(source: Source) -> Case:
    """Give the one case of a scenario; raises InputError when it cannot be searched.

    It needs one backend, no sweep, objectives, and enough requests for their percentiles.
    """
    if len(source.cases) != 1:
        raise InputError("peak: searches one backend at a time; leave the others and `sweep` out")
    (case,) = source.cases
    if not case.scenario.slo:
        raise InputError("peak: the scenario sets no `slo`; say what has to be met, e.g. ttft_p99")
    percent = max(Objective.of(key).percent for key in case.scenario.slo)
    floor, requests = min_samples_for_percentile(percent), case.scenario.requests
    if requests is not None and requests < floor:
        raise InputError(
            f"peak: {requests} requests cannot tell a p{percent:g}; set `requests` to "
            f"{floor} or more"
        )
    return case
