"""The gate of a nightly build: screens a candidate for regressions, then confirms them.

docs/statistics.md explains the method and its error rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from llmbench.analysis.compare.comparison import TOLERANCES, CaseComparison, Comparison
from llmbench.analysis.compare.judge import (
    CasePair,
    Processes,
    Verdicts,
    better,
    control_false_discoveries,
)
from llmbench.analysis.compare.verdicts import (
    BLOCK,
    STAGES,
    Better,
    Block,
    Verdict,
    confirm,
    is_suspect,
    is_worse,
)
from llmbench.analysis.metrics import METRICS, metric_key
from llmbench.campaign import execute, plan
from llmbench.campaign.observer import Observer
from llmbench.campaign.process import Installation
from llmbench.errors import InputError, Unavailable
from llmbench.runs import store
from llmbench.runs.run import PlannedRun, Run
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
    """A side that an installation measures now; runs already in its folder are kept."""

    run_set: RunSet
    installation: Installation

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Measure a case once, unless already measured."""
        self.run_set, _ = execute.run_more(
            self.run_set,
            PlannedRun(case, repeat),
            observer,
            self.installation,
            self.run_set.folder.name,
        )


def live_side(source: Source, folder: Path, installation: Installation) -> LiveSide:
    """Create the results folder of a side, or resume the side from its existing folder."""
    begun = (folder / "runset.json").is_file()
    run_set = store.read(folder) if begun else plan.begin(source, folder, planned=())
    return LiveSide(run_set, installation)


@dataclass(frozen=True, slots=True)
class StoredSide:
    """A side that was measured earlier."""

    run_set: RunSet

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Do nothing: the side was measured earlier."""


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
    only a change beyond the tolerance in these new processes is a regression. ``floors`` has the
    minimum relative tolerances by case and metric.
    """
    options = source.scenario.gate
    trials = [
        _Trial(case, _raised(tolerances_of(case), floors.get(case.name, {})), (baseline, candidate))
        for case in source.cases
    ]
    _measure(trials, range(1, options.screen + 1), observer, source.scenario.seed)
    for trial in trials:
        trial.screen()
    for stage in range(1, STAGES + 1):
        suspected = [trial for trial in trials if trial.open]
        first = options.screen + 1 + (stage - 1) * options.confirm
        _measure(suspected, range(first, first + options.confirm), observer, source.scenario.seed)
        for trial in suspected:
            trial.confirm(options.screen)
    judged = [trial.verdicts() for trial in trials]
    verdicts = control_false_discoveries(judged, lambda verdict: verdict.outcome == "regression")
    pairs = [trial.pair for trial in trials]
    names = [trial.case.name for trial in trials]
    missing = (
        name for name, pair in zip(names, pairs, strict=True)
        if not (pair.baseline.runs and pair.candidate.runs)
    )  # fmt: skip
    cases = tuple(map(CaseComparison.of, names, pairs, verdicts))
    return Comparison(baseline.run_set, candidate.run_set, cases, tuple(missing), ())


def _raised(tolerances: Mapping[str, float], floors: Mapping[str, float]) -> dict[str, float]:
    return {key: max(share, floors.get(key, 0.0)) for key, share in tolerances.items()}


def _measure(trials: Sequence[_Trial], repeats: range, observer: Observer, seed: int) -> None:
    """Measure both sides of each case once per repeat, in alternating order (ABBA)."""
    rng = stream(seed, "order of pairs")
    for repeat in repeats:
        for index in rng.permutation(len(trials)):
            trial = trials[index]
            for side in trial.sides if repeat % 2 else reversed(trial.sides):
                side.measure(trial.case, repeat, observer)
    for trial in trials:
        trial.update()


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """The result of confirming a suspected regression of one metric."""

    confirmed: bool = False
    p: float = 1.0
    baseline_moved: bool = False


@dataclass(slots=True)
class _Trial:
    """The check of one case; ``open`` has the metrics with an undecided suspected regression."""

    case: Case
    tolerances: dict[str, float]
    sides: tuple[Side, Side]
    pair: CasePair = UNMEASURED
    open: set[str] = field(default_factory=set)
    confirmations: dict[str, _Confirmed] = field(default_factory=dict)

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
        """Add every metric that the screen suspects of a regression to ``open``."""
        if self.pair.incomparable:
            return
        for key in self.tolerances:
            baseline, candidate, _ = self.pair.values(key)
            tolerance = self._tolerance(key)
            if baseline and candidate and is_suspect(baseline, candidate, better(key), tolerance):
                self.open.add(key)

    def confirm(self, screened: int) -> None:
        """Confirm or clear suspected regressions by the processes measured after the screen."""
        new = self._between(screened)
        for key in sorted(self.open):
            tolerance, direction = self._tolerance(key), better(key)
            baseline, candidate, _ = new.values(key)
            if not baseline or not candidate:
                continue
            confirmation, p = confirm(self._blocks(key, screened), direction, tolerance)
            moved = _baseline_moved(baseline, direction, tolerance)
            self.confirmations[key] = _Confirmed(confirmation == "confirmed", p, moved)
            if confirmation != "open":
                self.open.discard(key)

    def verdicts(self) -> Verdicts:
        """Return the verdict on every gated metric of the case."""
        return {key: self._verdict(key) for key in self.tolerances}

    def _verdict(self, key: str) -> Verdict:
        verdict = self.pair.verdict(key, self.tolerances[key])
        if verdict.outcome == "not comparable":
            return verdict
        new = self.confirmations.get(key, _Confirmed())
        if new.confirmed and new.baseline_moved:
            reason = "the baseline shifted as well during the measurement"
            return replace(verdict, outcome="environment", p=new.p, reason=reason)
        if new.confirmed:
            return replace(verdict, outcome="regression", p=new.p, reason="")
        if verdict.outcome == "regression":
            reason = "new processes did not confirm the regression"
            return replace(verdict, outcome="inconclusive", p=new.p, reason=reason)
        return verdict

    def _between(self, after: int, until: float = math.inf) -> CasePair:
        """Return the processes with repeats in (``after``, ``until``]; for a stored side, all."""
        baseline, candidate = (
            processes if isinstance(side, StoredSide) else processes.between(after, until)
            for side, processes in zip(
                self.sides, (self.pair.baseline, self.pair.candidate), strict=True
            )
        )
        return CasePair(baseline, candidate)

    def _blocks(self, key: str, after: int) -> list[Block]:
        """Return a metric's values in blocks of processes that were measured close together.

        If a side is stored, a single block has all values.
        """
        if any(isinstance(side, StoredSide) for side in self.sides):
            return [self._between(after).values(key)[:2]]
        runs: tuple[Run, ...] = self.pair.baseline.runs + self.pair.candidate.runs
        starts = range(after, max(run.repeat for run in runs), BLOCK)
        return [self._between(start, start + BLOCK).values(key)[:2] for start in starts]

    def _tolerance(self, key: str) -> float:
        """Return a metric's relative tolerance, at least the allowance for different meters."""
        try:
            return max(self.tolerances[key], self.pair.allowance(key))
        except Unavailable:
            return math.inf


def _baseline_moved(baseline: Sequence[float], better: Better, tolerance: float) -> bool:
    """Return whether alternate baseline processes differ by more than the tolerance."""
    one, other = baseline[::2], baseline[1::2]
    return is_worse(one, other, better, tolerance) or is_worse(other, one, better, tolerance)
