"""The gate of a nightly build: a candidate against a baseline, screened and then confirmed.

docs/statistics.md has the method in plain words, and how often it errs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from llmbench.analysis.compare.comparison import (
    TOLERANCES,
    CaseComparison,
    Comparison,
    is_energy,
    judge,
    values_of,
)
from llmbench.analysis.compare.differences import Difference, differences, energy_allowance, forbids
from llmbench.analysis.compare.verdicts import (
    BLOCK,
    STAGES,
    Better,
    Block,
    Verdict,
    benjamini_hochberg,
    confirm,
    is_suspect,
    is_worse,
)
from llmbench.analysis.metrics import METRICS, Value, metric_key, summarize
from llmbench.campaign import execute, plan
from llmbench.campaign.observer import Observer
from llmbench.campaign.process import Installation
from llmbench.errors import InputError, Unavailable
from llmbench.runs import store
from llmbench.runs.run import Run
from llmbench.runs.store import PlannedRun, RunSet
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source
from llmbench.scenario.rng import stream

NO_FLOORS: Mapping[str, Mapping[str, float]] = {}


class Side(Protocol):
    """One side of a comparison: where its processes come from."""

    @property
    def run_set(self) -> RunSet:
        """What has been measured so far."""

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Measure a case once more, where that can be done."""


@dataclass(slots=True)
class Live:
    """A side that is measured now, by an installation; what its folder has already is kept."""

    run_set: RunSet
    installation: Installation

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Measure a case once, unless it has been."""
        planned = PlannedRun(case, repeat)
        if planned.name in {run.name for run in self.run_set.runs if not run.failure}:
            return
        if planned.name not in {each.name for each in self.run_set.plan}:
            self.run_set = store.extend(self.run_set, planned)
        observer.began(planned, len(self.run_set.plan), None, self.run_set.folder.name)
        run = execute.run_one(self.run_set.folder, planned, observer, self.installation)
        observer.ended(run)
        kept = [each for each in self.run_set.runs if each.name != run.name]
        self.run_set = replace(self.run_set, runs=(*kept, run))


def live(source: Source, folder: Path, installation: Installation) -> Live:
    """Begin a side, or go on with what its folder has."""
    begun = (folder / "runset.json").is_file()
    run_set = store.read(folder) if begun else plan.begin(source, folder, planned=())
    return Live(run_set, installation)


@dataclass(frozen=True, slots=True)
class Stored:
    """A side that was measured before."""

    run_set: RunSet

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:
        """Measure nothing: what is stored is all there is."""


def tolerances_of(case: Case) -> Mapping[str, float]:
    """Give the metrics that a case is held to; raises InputError when there is no such metric."""
    asked = {metric_key(key): share for key, share in case.scenario.gate.metrics.items()}
    for key in asked:
        try:
            better = METRICS[key].better
        except KeyError:
            raise InputError(f"gate.metrics: no metric {key!r}; for example ttft_p50") from None
        if better == "neither":
            raise InputError(f"gate.metrics: {key} is neither better nor worse")
    return asked or TOLERANCES


def check(
    source: Source,
    baseline: Side,
    candidate: Side,
    observer: Observer,
    floors: Mapping[str, Mapping[str, float]] = NO_FLOORS,
) -> Comparison:
    """Measure both sides, interleaved, and give a verdict for every metric of every case.

    All cases are screened; those with a suspicious metric are measured again, both sides anew, and
    only what these new processes show beyond the tolerance is a regression. ``floors`` has the
    least tolerance by case and metric.
    """
    options = source.scenario.gate
    trials = [
        _Trial(case, _raised(tolerances_of(case), floors.get(case.name, {})), baseline, candidate)
        for case in source.cases
    ]
    _measure(trials, range(1, options.screen + 1), observer, source.scenario.seed)
    for trial in trials:
        trial.screen()
    for stage in range(1, STAGES + 1):
        doubted = [trial for trial in trials if trial.open]
        first = options.screen + 1 + (stage - 1) * options.confirm
        _measure(doubted, range(first, first + options.confirm), observer, source.scenario.seed)
        for trial in doubted:
            trial.confirm(options.screen)
    judged = _discovered([trial.comparison() for trial in trials])
    cases = [
        case.explained(trial.runs(baseline), trial.runs(candidate))
        for case, trial in zip(judged, trials, strict=True)
    ]
    return Comparison(baseline.run_set, candidate.run_set, tuple(cases), _missing(trials), ())


def _raised(tolerances: Mapping[str, float], floors: Mapping[str, float]) -> dict[str, float]:
    return {key: max(share, floors.get(key, 0.0)) for key, share in tolerances.items()}


def _measure(trials: Sequence[_Trial], repeats: range, observer: Observer, seed: int) -> None:
    """Measure both sides of each case in turn, now the one first and now the other (ABBA)."""
    draws = stream(seed, "order of pairs")
    for repeat in repeats:
        for index in draws.permutation(len(trials)):
            trial = trials[index]
            sides = [trial.baseline, trial.candidate]
            for side in sides if repeat % 2 else reversed(sides):
                side.measure(trial.case, repeat, observer)


@dataclass(slots=True)
class _Trial:
    """A case while it is judged; ``open`` has the metrics that are suspected and not decided."""

    case: Case
    tolerances: dict[str, float]
    baseline: Side
    candidate: Side
    open: set[str] = field(default_factory=set)
    tested: dict[str, tuple[bool, float, bool]] = field(default_factory=dict)

    def screen(self) -> None:
        """Suspect whatever comes near its tolerance."""
        if self._why_not:
            return
        for key in self.tolerances:
            ours, theirs, _ = self._values(key)
            if ours and theirs and is_suspect(ours, theirs, _better(key), self._tolerance(key)):
                self.open.add(key)

    def confirm(self, screened: int) -> None:
        """Judge what is suspected by the processes that came after the screen."""
        for key in sorted(self.open):
            tolerance, better = self._tolerance(key), _better(key)
            ours, theirs, _ = self._values(key, after=screened)
            if not ours or not theirs:
                continue
            found, p = confirm(self._blocks(key, screened), better, tolerance)
            moved = _null_moved(ours, better, tolerance)
            self.tested[key] = found == "confirmed", p, moved
            if found != "open":
                self.open.discard(key)

    def comparison(self) -> CaseComparison:
        """Say what came of it."""
        sides = self._sides
        return CaseComparison(
            self.case.name,
            len(sides[0]),
            len(sides[1]),
            tuple(self._differences),
            {key: self._verdict(key) for key in self.tolerances},
        )

    def _verdict(self, key: str) -> Verdict:
        tolerance = self.tolerances[key]
        ours, theirs, why = self._values(key)
        if self._why_not or not ours or not theirs:
            return Verdict("not comparable", None, tolerance, reason=self._why_not or why)
        found = judge(key, self._sides, (ours, theirs), tolerance)
        confirmed, p, moved = self.tested.get(key, (False, 1.0, False))
        if confirmed and moved:
            reason = "the baseline moved as well while it was measured"
            return replace(found, outcome="environment", p=p, reason=reason)
        if confirmed:
            return replace(found, outcome="regression", p=p, reason="")
        if found.outcome == "regression":
            reason = "new processes did not confirm it"
            return replace(found, outcome="inconclusive", p=p, reason=reason)
        return found

    # -- what there is -----------------------------------------------------------------------------

    def runs(self, side: Side, after: int = 0, until: float = math.inf) -> list[Run]:
        """Give what a side has of the case, of what is measured now between two repeats."""
        runs = side.run_set.by_case().get(self.case.name, [])
        return runs if isinstance(side, Stored) else [r for r in runs if after < r.repeat <= until]

    def _values(
        self, key: str, after: int = 0, until: float = math.inf
    ) -> tuple[list[float], list[float], str]:
        ours, theirs = (
            _summaries(self.runs(side, after, until)) for side in (self.baseline, self.candidate)
        )
        if not ours or not theirs:
            return [], [], f"the {'candidate' if ours else 'baseline'} has no measured run of it"
        (left, why), (right, why_too) = values_of(key, ours), values_of(key, theirs)
        return left, right, why or why_too

    def _blocks(self, key: str, after: int) -> list[Block]:
        """Give the values of pairs that were measured near each other.

        One block holds all where a side was measured before.
        """
        if isinstance(self.baseline, Stored) or isinstance(self.candidate, Stored):
            ours, theirs, _ = self._values(key, after)
            return [(ours, theirs)]
        last = max(run.repeat for side in self._sides for run in side)
        firsts = range(after, last, BLOCK)
        return [self._values(key, first, first + BLOCK)[:2] for first in firsts]

    @property
    def _sides(self) -> tuple[list[Run], list[Run]]:
        return self.runs(self.baseline), self.runs(self.candidate)

    def _tolerance(self, key: str) -> float:
        """Give what a metric may change by: energies of two devices by what these are off."""
        if not is_energy(key):
            return self.tolerances[key]
        try:
            return max(self.tolerances[key], energy_allowance(*self._sides))
        except Unavailable:
            return math.inf

    @property
    def _differences(self) -> list[Difference]:
        sides = self._sides
        return differences(*sides) if all(sides) else []

    @property
    def _why_not(self) -> str:
        return forbids(self._differences, ("scenario", "hardware"))


def _summaries(runs: Sequence[Run]) -> list[dict[str, Value]]:
    return [summarize(run) for run in runs]


def _better(key: str) -> Better:
    better = METRICS[key].better
    assert better != "neither"  # noqa: S101 (tolerances_of has refused it)
    return better


def _null_moved(baseline: Sequence[float], better: Better, tolerance: float) -> bool:
    """Tell whether the baseline differs from itself as much, every other process from the rest."""
    one, other = baseline[::2], baseline[1::2]
    return is_worse(one, other, better, tolerance) or is_worse(other, one, better, tolerance)


def _discovered(cases: Sequence[CaseComparison]) -> Iterator[CaseComparison]:
    """Keep the regressions that survive a false discovery rate among all that were confirmed."""
    called = [v for case in cases for v in case.verdicts.values() if v.outcome == "regression"]
    accepted = iter(benjamini_hochberg([v.p for v in called if v.p is not None]))
    for case in cases:
        yield replace(
            case,
            verdicts={
                key: v
                if v.outcome != "regression" or next(accepted)
                else replace(v, outcome="inconclusive", reason="chance may have made it")
                for key, v in case.verdicts.items()
            },
        )


def _missing(trials: Sequence[_Trial]) -> tuple[str, ...]:
    """Name the cases of which a side has no measured run."""
    return tuple(
        trial.case.name
        for trial in trials
        if not (trial.runs(trial.baseline) and trial.runs(trial.candidate))
    )
