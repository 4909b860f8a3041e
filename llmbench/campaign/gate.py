"""The gate of a nightly build: screens a candidate for regressions, then confirms them.

docs/statistics.md explains the method and its error rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from llmbench.analysis.compare.comparison import TOLERANCES, CaseComparison, Comparison
from llmbench.analysis.compare.confirmation import (
    ALPHAS,
    Sides,
    State,
    confirm,
    is_suspect,
    verdict_of,
)
from llmbench.analysis.compare.judge import CasePair, Processes, Verdicts, better, limited_by_meters
from llmbench.analysis.compare.verdicts import Verdict
from llmbench.analysis.metrics import METRICS, metric_key
from llmbench.campaign import execute, plan
from llmbench.campaign.observer import Observer
from llmbench.campaign.plan import CheckCases
from llmbench.campaign.process import Launcher
from llmbench.errors import InputError, Unavailable
from llmbench.runs import store
from llmbench.runs.run import PlannedRun
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source
from llmbench.scenario.rng import stream

NO_FLOORS: Mapping[str, Mapping[str, float]] = {}
UNMEASURED = CasePair(Processes(), Processes(), ("scenario", "hardware"))


class Side(Protocol):
    """The baseline or the candidate of a check: measured now, or stored earlier."""

    @property
    def run_set(self) -> RunSet:
        """The runs of this side that have been measured so far."""

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Measure a case once, if this side can be measured."""


@dataclass(slots=True)
class LiveSide:
    """A side that is measured now; runs already in its folder are kept."""

    run_set: RunSet
    launcher: Launcher

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Measure a case once, unless already measured."""
        self.run_set, _ = execute.run_more(
            self.run_set,
            PlannedRun(case, repeat),
            observer,
            self.launcher,
            self.run_set.folder.name,
        )


def live_side(
    source: Source, folder: Path, launcher: Launcher, check_cases: CheckCases = plan.check_here
) -> LiveSide:
    """Create the results folder of a side, or resume the side from its existing folder.

    ``check_cases`` checks the machines that measure it.
    """
    if not (folder / "runset.json").is_file():
        return LiveSide(plan.begin(source, folder, (), check_cases), launcher)
    check_cases(source.cases, source.places)
    return LiveSide(store.resume(folder), launcher)


@dataclass(frozen=True, slots=True)
class StoredSide:
    """A side that was measured earlier."""

    run_set: RunSet

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Do nothing: the side was measured earlier."""


def stored_side(run_set: RunSet) -> StoredSide:
    """Return the side of a stored run set; raises InputError if another load tool measured it."""
    tools = sorted({run.imported_from for run in run_set.runs if run.imported_from})
    if tools:
        raise InputError(
            f"{run_set.folder}: imported from {', '.join(tools)}: one value per metric, without an "
            "interval, decides nothing; compare it with `llmbench compare`, or measure a baseline "
            "with `llmbench run`"
        )
    return StoredSide(run_set)


def tolerances_of(case: Case) -> Mapping[str, float]:
    """Return the relative tolerance of every gated metric of a case.

    Raises InputError if a listed metric does not exist or has no better direction.
    """
    tolerances = {metric_key(key): share for key, share in case.scenario.gate.metrics.items()}
    for key in tolerances:
        if key not in METRICS:
            raise InputError(f"gate.metrics: no metric {key!r}; use one such as ttft_p50")
        if METRICS[key].better == "neither":
            raise InputError(f"gate.metrics: {key} has no better direction; remove it")
    return tolerances or TOLERANCES


def check(
    source: Source,
    baseline: Side,
    candidate: Side,
    observer: Observer,
    floors: Mapping[str, Mapping[str, float]] = NO_FLOORS,
) -> Comparison:
    """Measure both sides, interleaved, and return a verdict for every metric of every case.

    All cases are screened. Cases with a suspected regression are measured again on both sides, and
    only a change beyond the tolerance in these new processes is a regression. A suspicion that they
    neither confirm nor clear is undecided. ``floors`` has the minimum relative tolerances by case
    and metric.
    """
    options = source.scenario.gate
    trials = [
        _Trial(case, _raised(tolerances_of(case), floors.get(case.name, {})), (baseline, candidate))
        for case in source.cases
    ]
    # a new order for every check, the same if it is resumed
    rng = stream(source.scenario.seed, f"order of pairs, {candidate.run_set.began_at}")
    _measure(trials, range(1, options.screen + 1), observer, rng)
    for trial in trials:
        trial.screen()
    for stage, alpha in enumerate(ALPHAS):
        first = options.screen + 1 + stage * options.confirm
        suspected = [trial for trial in trials if trial.open]
        _measure(suspected, range(first, first + options.confirm), observer, rng)
        _confirm(trials, alpha, options.screen)
    cases = tuple(
        CaseComparison.of(trial.case.name, trial.pair, trial.verdicts(options.screen))
        for trial in trials
    )
    missing = tuple(case.case for case in cases if not (case.baseline_runs and case.candidate_runs))
    return Comparison(baseline.run_set, candidate.run_set, cases, missing, ())


def _raised(tolerances: Mapping[str, float], floors: Mapping[str, float]) -> dict[str, float]:
    return {key: max(share, floors.get(key, 0.0)) for key, share in tolerances.items()}


def _measure(
    trials: Sequence[_Trial], repeats: range, observer: Observer, rng: np.random.Generator
) -> None:
    """Measure both sides of each case once per repeat, one right after the other.

    The order of the cases and of the sides is drawn for every repeat.
    """
    for repeat in repeats:
        for index in rng.permutation(len(trials)):
            trial = trials[index]
            for side in rng.permutation(len(trial.sides)):
                trial.sides[side].measure(trial.case, repeat, observer)
    for trial in trials:
        trial.update()


def _confirm(trials: Sequence[_Trial], alpha: float, screened: int) -> None:
    """Confirm or clear open suspicions by the processes that were measured after the screen."""
    suspects = [
        (trial, key, sides)
        for trial in trials
        for key in trial.open
        if (sides := trial.sides_of(key, trial.after(screened)))
    ]
    cleared = sum(
        suspicion.state == "cleared" for trial in trials for suspicion in trial.suspicions.values()
    )
    states = confirm([sides for *_, sides in suspects], alpha, cleared)
    for (trial, key, _), (state, p) in zip(suspects, states, strict=True):
        trial.suspicions[key] = _Suspicion(state, p)


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """A suspected regression of one metric, as far as new processes have confirmed it."""

    state: State = "open"
    p: float = 1.0


@dataclass(slots=True)
class _Trial:
    """The check of one case; ``suspicions`` has the metrics that the screen suspects."""

    case: Case
    tolerances: dict[str, float]
    sides: tuple[Side, Side]
    pair: CasePair = UNMEASURED
    suspicions: dict[str, _Suspicion] = field(default_factory=dict)

    @property
    def paired(self) -> bool:
        """Whether both sides are measured now, in pairs of processes."""
        return not any(isinstance(side, StoredSide) for side in self.sides)

    @property
    def open(self) -> list[str]:
        """The suspected metrics that are neither confirmed nor cleared."""
        return [key for key, suspicion in self.suspicions.items() if suspicion.state == "open"]

    def update(self) -> None:
        """Add the processes measured since the last update."""
        baseline, candidate = (
            side.run_set.by_case().get(self.case.name, []) for side in self.sides
        )
        self.pair = replace(
            self.pair,
            baseline=self.pair.baseline.updated(baseline),
            candidate=self.pair.candidate.updated(candidate),
        )

    def screen(self) -> None:
        """Suspect every metric that looks worse in the processes measured so far."""
        if self.pair.incomparable:
            return
        for key in self.tolerances:
            sides = self.sides_of(key, self.after(0))
            if sides and is_suspect(sides):
                self.suspicions[key] = _Suspicion()

    def sides_of(self, key: str, processes: CasePair) -> Sides | None:
        """Return a metric's values of both sides, if both have values."""
        baseline, candidate, _ = processes.values(key)
        if not baseline or not candidate:
            return None
        return Sides.of(baseline, candidate, better(key), self._tolerance(key), paired=self.paired)

    def after(self, repeat: int) -> CasePair:
        """Return the processes of later repeats: pairs, or all of a stored baseline."""
        baseline, candidate = self.pair.baseline, self.pair.candidate
        later = {number for number in candidate.repeats if number > repeat}
        if self.paired:
            later &= baseline.repeats
            baseline = baseline.only(later)
        return CasePair(baseline, candidate.only(later))

    def verdicts(self, screened: int) -> Verdicts:
        """Return the verdict on every gated metric of the case."""
        return {key: self._verdict(key, screened) for key in self.tolerances}

    def _verdict(self, key: str, screened: int) -> Verdict:
        """Return a metric's verdict, that of a suspected one from its new processes alone."""
        if key not in self.suspicions:
            return self._screened(key)
        new = self.after(screened)
        if sides := self.sides_of(key, new):
            suspicion = self.suspicions[key]
            verdict = verdict_of(sides, suspicion.state, suspicion.p)
            return limited_by_meters(verdict, self.pair.allowance(key))
        missing = new.values(key)[2] if new.candidate.runs else "none was measured on both sides"
        reason = f"suspected, but no new processes confirm or clear it: {missing}"
        return Verdict("undecided", None, self._tolerance(key), reason=reason)

    def _screened(self, key: str) -> Verdict:
        """Return the verdict on an unsuspected metric; a listed one has to be comparable."""
        verdict = self.pair.verdict(key, self.tolerances[key])
        if self.case.scenario.gate.metrics and verdict.outcome == "not comparable":
            return replace(verdict, outcome="undecided")
        return verdict

    def _tolerance(self, key: str) -> float:
        """Return a metric's relative tolerance, at least the allowance for different meters."""
        try:
            return max(self.tolerances[key], self.pair.allowance(key))
        except Unavailable:
            return math.inf
