"""Capacity: the highest load that meets the objectives, from single runs and a fit between them.

A single run decides only where to look. The result is the load at which the share of slow requests
crosses what an objective allows, fitted to runs on both sides of it; its lower confidence bound is
the load that may be claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from llmbench.analysis.harness_validity import validity_of
from llmbench.analysis.load_fit import Crossing, crossing
from llmbench.analysis.slo_attainment import Exceedance, exceedances
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

NEAR = 1.2  # the fit begins where a met and a missed load are this close
FEWEST, MOST = 16, 48  # runs of the fit
FIRST_SPREAD, SPREADS = 0.1, (0.03, 0.15)  # of a pair of loads around the estimate
ODDS = 3.0  # the odds of a slow request change by this much from the estimate to either load
PER_DECADE = 200  # loads of the fit are rounded to a grid, so that few cases result
LIMITING = 0.1  # an objective with less than this share of the slow requests allowed is no limit

Outcome = Literal["found", "open", "below", "above", "harness"]
Measure = Callable[[float], "Probe"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A run at a load: the slow requests of each objective.

    ``limited`` has the reasons why llmbench itself did not keep up.
    """

    at: float
    exceedances: tuple[Exceedance, ...]
    limited: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the objectives are met in this run."""
        return not self.limited and all(exceedance.met for exceedance in self.exceedances)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The load at which the first objective is missed, and the ends of its 95 % interval.

    ``low`` may be claimed. ``outcome``: ``found``; ``open``, the runs do not bound the load from
    below; ``below`` or ``above`` the loads searched, by single runs; ``harness``, llmbench itself
    was the limit. ``objective`` is the one that is missed first.
    """

    outcome: Outcome
    probes: tuple[Probe, ...]
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    objective: str | None = None


class Limit(NamedTuple):
    """The objective that is missed first, and the load at which it is."""

    objective: str
    load: Crossing


def search(
    measure: Measure, start: float, most: float, tolerance: float, *, integer: bool = False
) -> Capacity:
    """Find the highest load between ``start`` and ``most`` that meets the objectives.

    The load is doubled until a run misses an objective, and bisected geometrically down to a ratio
    of NEAR. Then pairs of runs below and above the estimate are measured and fitted together, until
    the lower bound is within ``tolerance`` of the estimate or MOST runs are made. Every run has to
    be a new draw of the load. Loads are integers if ``integer`` is set.
    """
    probes: list[Probe] = []

    def probe(load: float) -> Probe:
        probes.append(measure(load))
        return probes[-1]

    best, missed = _bracket(probe, start, most)
    while best is not None and missed is not None and missed / best > NEAR:
        middle = _rounded((best * missed) ** 0.5, integer=integer)
        if middle in (best, missed):
            break
        best, missed = (middle, missed) if probe(middle).met else (best, middle)
    if best is None:
        return Capacity("harness" if probes[-1].limited else "below", tuple(probes))
    if missed is None:
        return Capacity("above", tuple(probes))
    pairs = partial(_pair, most=most, integer=integer)
    limit = _fit(probe, pairs, (best * missed) ** 0.5, tolerance, integer=integer)
    if probes[-1].limited:
        return Capacity("harness", tuple(probes))
    if limit is None:
        return Capacity("open", tuple(probes))
    load, low = limit.load, limit.load.low
    claimed = float(np.floor(low)) if low is not None and integer else low
    outcome: Outcome = "found" if claimed else "open"
    return Capacity(
        outcome, tuple(probes), load.estimate, claimed or None, load.high, limit.objective
    )


def _bracket(probe: Measure, start: float, most: float) -> tuple[float | None, float | None]:
    """Double the load until a run misses; return the last load that met and the one that missed."""
    best, at = None, start
    while probe(at).met:
        best = at
        if at >= most:
            return best, None
        at = min(at * 2, most)
    return best, at


def _rounded(load: float, *, integer: bool) -> float:
    return float(round(load)) if integer else float(f"{load:.4g}")  # part of the case's name


def _fit(
    probe: Measure,
    pairs: Callable[[float, float], Iterator[float]],
    center: float,
    tolerance: float,
    *,
    integer: bool,
) -> Limit | None:
    """Measure pairs of loads around the estimate, and fit it anew after each pair."""
    runs: list[Probe] = []
    limit, spread = None, FIRST_SPREAD
    while len(runs) < MOST:
        for load in pairs(center, spread):
            runs.append(probe(load))
            if runs[-1].limited:
                return None
        limit = first_limit(runs)
        if limit is None:
            spread = min(1.5 * spread, SPREADS[1])
            continue
        if len(runs) >= FEWEST and _is_precise(limit.load, tolerance, integer=integer):
            break
        center *= float(np.clip(limit.load.estimate / center, 1 - spread, 1 + spread))
        spread = float(np.clip(np.log(ODDS) / (limit.load.slope * center), *SPREADS))
    return limit


def _pair(center: float, spread: float, most: float, *, integer: bool) -> Iterator[float]:
    """Yield a load below and one above the center, at most ``most``."""
    below, above = center * (1 - spread), center * (1 + spread)
    if integer:
        narrow = spread * center < 0.5  # noqa: PLR2004 (half a step)
        below = max(1.0, np.floor(center if narrow else below))
        above = below + 1 if narrow else np.ceil(above)
    else:
        below, above = (
            10 ** (round(np.log10(x) * PER_DECADE) / PER_DECADE) for x in (below, above)
        )
    for load in (below, above):
        yield min(_rounded(load, integer=integer), most)


def _is_precise(load: Crossing, tolerance: float, *, integer: bool) -> bool:
    if load.low is None:
        return False
    return load.estimate - load.low <= max(tolerance * load.estimate, 1.0 if integer else 0.0)


def first_limit(runs: Sequence[Probe]) -> Limit | None:
    """Return the objective that is missed at the lowest load; None if the runs do not show one.

    Each end of the interval is the lowest of all objectives'.
    """
    by_objective = zip(*(run.exceedances for run in runs), strict=True)
    limiting = [pooled for pooled in by_objective if _is_limiting(pooled)]
    fits = [_crossing(runs, pooled) for pooled in limiting]
    loads = [fit for fit in fits if fit is not None]
    if not loads or len(loads) < len(fits):
        return None
    first = min(range(len(loads)), key=lambda index: loads[index].estimate)
    lows = [load.low for load in loads if load.low is not None]
    highs = [load.high for load in loads if load.high is not None]
    bounds = Crossing(
        loads[first].estimate,
        min(lows) if len(lows) == len(loads) else None,
        min(highs, default=None),
        loads[first].slope,
    )
    return Limit(limiting[first][0].key, bounds)


def _is_limiting(pooled: Sequence[Exceedance]) -> bool:
    allowed = sum(exceedance.allowed * exceedance.requests for exceedance in pooled)
    return sum(exceedance.slow for exceedance in pooled) > LIMITING * allowed


def _crossing(runs: Sequence[Probe], pooled: Sequence[Exceedance]) -> Crossing | None:
    with_requests = [(run.at, e) for run, e in zip(runs, pooled, strict=True) if e.requests]
    return crossing(
        [at for at, _ in with_requests],
        [exceedance.slow for _, exceedance in with_requests],
        [exceedance.requests for _, exceedance in with_requests],
        pooled[0].allowed,
    )


@dataclass(slots=True)
class LoadTester:
    """Measures the only case of a scenario at a given load, each time with a new draw of the load.

    Runs of an interrupted search are not measured again.
    """

    run_set: RunSet
    case: Case
    key: str
    observer: Observer
    on_probe: Callable[[Probe], None]
    runs: int = 0

    def __call__(self, at: float) -> Probe:
        """Measure one run at a load; raises MeasurementError if it fails."""
        self.runs += 1
        run = self._run(at)
        validity = validity_of(run)
        limited = validity.reasons if validity.verdict == "invalid" else ()
        probe = Probe(at, exceedances(run), limited)
        self.on_probe(probe)
        return probe

    def _run(self, at: float) -> Run:
        self.run_set, run = execute.run_more(self.run_set, self._planned(at), self.observer)
        if run.failure:
            raise MeasurementError(f"{run.name} failed: {run.failure.message}")
        return run

    def _planned(self, at: float) -> PlannedRun:
        """Return the plan of the next run; its number as `repeat` seeds its draw of the load."""
        value = int(at) if at == int(at) else at
        spec, point = deepcopy(self.case.spec), {self.key: value}
        set_key(spec, self.key, value)
        return PlannedRun(Case.of(Scenario.model_validate(spec), point), repeat=self.runs)


def searched_key(case: Case) -> str:
    """Return the option to search, ``load.rate`` or ``load.concurrency``; InputError if neither."""
    for name in ("rate", "concurrency"):
        if name in type(case.scenario.load).model_fields:
            return f"load.{name}"
    raise InputError(f"peak: a {case.scenario.load.kind} load has no rate or concurrency to search")


def only_case(source: Source) -> Case:
    """Return the only case of a scenario; raises InputError if it cannot be searched.

    The scenario needs one backend, no sweep, objectives, enough requests for their percentiles, and
    a new draw of the load in every run.
    """
    if len(source.cases) != 1:
        raise InputError("peak: searches one backend at a time; keep one and remove `sweep`")
    (case,) = source.cases
    if not case.scenario.slo:
        raise InputError("peak: the scenario has no `slo`; set an objective, for example ttft_p99")
    if not case.is_seeded_per_repeat:
        raise InputError("peak: every run needs a new draw; remove `seed_per_repeat: false`")
    objectives = map(Objective.of, case.scenario.slo)
    of_requests = [objective.percent for objective in objectives if not objective.is_of_jobs]
    percent = max(of_requests, default=0.0)  # how many jobs the requests make up is not known
    floor, requests = min_samples_for_percentile(percent), case.scenario.requests
    if requests is not None and requests < floor:
        raise InputError(
            f"peak: {requests} requests are too few for a p{percent:g}; set `requests` to "
            f"{floor} or more"
        )
    return case
