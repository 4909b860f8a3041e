"""Tuning: the best of several settings by one metric, by successive halving over their runs.

Every rung doubles the runs of the settings that are left. A setting is dropped only when its
interval lies entirely on the worse side of the best one's: a figure alone decides nothing. Source:
Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization,
2016; there, half of the settings are dropped after each rung by their figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmbench.analysis.front import Better, is_beaten
from llmbench.analysis.harness_validity import validity_of
from llmbench.analysis.metrics import METRICS, summarize
from llmbench.analysis.stats import MIN_PROCESSES
from llmbench.analysis.values import Estimate, Value, estimate
from llmbench.campaign import execute
from llmbench.campaign.observer import Observer
from llmbench.runs.run import PlannedRun, Run
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import stream

FIRST = MIN_PROCESSES  # runs of a setting in the first rung, which an interval needs
MOST = 24  # runs of a setting

Outcome = Literal["found", "equal", "undecided", "budget", "failed"]


@dataclass(frozen=True, slots=True)
class Objective:
    """The metric (a key of METRICS) to maximize or minimize."""

    metric: str
    better: Better

    def estimate(self, values: Sequence[Value]) -> Estimate:
        """Estimate the metric of a setting from its runs."""
        return estimate(values, METRICS[self.metric].scale)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run says of its setting: its value, or why the setting is out of the search.

    ``limited`` has the reasons why llmbench itself did not keep up.
    """

    value: Value
    failure: str = ""
    limited: tuple[str, ...] = ()


@dataclass(slots=True)
class Trial:
    """A setting and its runs so far; ``rung`` is the one after which it was dropped."""

    setting: str
    runs: list[Measured] = field(default_factory=list)
    status: Literal["left", "beaten", "failed", "unknown"] = "left"
    rung: int | None = None
    reason: str = ""

    @property
    def values(self) -> list[Value]:
        """The value of each run that did not fail."""
        return [run.value for run in self.runs if not run.failure]

    @property
    def limited(self) -> tuple[str, ...]:
        """The reasons why llmbench itself did not keep up in some run."""
        return tuple(dict.fromkeys(reason for run in self.runs for reason in run.limited))

    def drop(self, status: Literal["beaten", "failed", "unknown"], rung: int, reason: str) -> None:
        """Take the setting out of the search."""
        self.status, self.rung, self.reason = status, rung, reason


@dataclass(frozen=True, slots=True)
class Tuning:
    """The trials of a search, and how it ended.

    ``found``: one setting is left. ``equal``: those left had the same value in every repeat.
    ``undecided``: they have MOST runs each, with intervals that overlap. ``budget``: it was spent
    before. ``failed``: none is left. ``left`` has them, the best figure first.
    """

    outcome: Outcome
    trials: tuple[Trial, ...]
    objective: Objective
    rungs: int

    @property
    def left(self) -> list[Trial]:
        """The settings that are left, the best figure first."""
        return _ranked([t for t in self.trials if t.status == "left"], self.objective)

    @property
    def runs(self) -> int:
        """The number of runs of all settings."""
        return sum(len(trial.runs) for trial in self.trials)


Measure = Callable[[str, int], Measured]


def search(
    measure: Measure,
    settings: Sequence[str],
    objective: Objective,
    *,
    seed: int = 0,
    first: int = FIRST,
    has_budget: Callable[[int], bool] = lambda _: True,
    on_rung: Callable[[int, Sequence[Trial]], None] = lambda *_: None,
) -> Tuning:
    """Find the best setting; ``measure`` runs a setting once, for a repeat.

    The first rung has ``first`` runs of each setting, each further one as many again, up to MOST.
    The settings of a repeat are measured in a random order, drawn by ``seed``. ``has_budget`` says
    whether another run may follow a number of runs.
    """
    trials = [Trial(setting) for setting in settings]
    done, rung = 0, 0
    while True:
        rung, planned = rung + 1, first if not done else min(2 * done, MOST)
        spent = False
        for trial, repeat in _order(trials, range(done + 1, planned + 1), seed):
            spent = not has_budget(sum(len(t.runs) for t in trials))
            if spent:
                break
            trial.runs.append(measure(trial.setting, repeat))
            if failure := trial.runs[-1].failure:
                trial.drop("failed", rung, failure)
        done = planned
        _drop_beaten(trials, objective, rung)
        on_rung(rung, trials)
        if outcome := _outcome(trials, spent=spent, is_last=done >= MOST):
            return Tuning(outcome, tuple(trials), objective, rung)


def _order(trials: Sequence[Trial], repeats: range, seed: int) -> Iterator[tuple[Trial, int]]:
    """Yield the runs of a rung: in each repeat every setting that is left, in random order."""
    for repeat in repeats:
        rng = stream(seed, f"order of settings in repeat {repeat}")
        for index in rng.permutation(len(trials)):
            if trials[index].status == "left":
                yield trials[index], repeat


def _drop_beaten(trials: Sequence[Trial], objective: Objective, rung: int) -> None:
    """Drop settings without a value, and those whose interval the best one's beats."""
    for trial in trials:
        reasons = [value.reason for value in trial.values if value.value is None]
        if trial.status == "left" and reasons:
            trial.drop("unknown", rung, reasons[0] or "not measured")
    left = [trial for trial in trials if trial.status == "left" and trial.values]
    ranked = _ranked(left, objective)
    for trial in ranked[1:]:
        best = objective.estimate(ranked[0].values)
        if is_beaten(objective.estimate(trial.values), best, objective.better):
            trial.drop("beaten", rung, ranked[0].setting)


def _ranked(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    sign = -1.0 if objective.better == "higher" else 1.0
    measured = [trial for trial in trials if trial.values]
    ranked = sorted(measured, key=lambda t: sign * (objective.estimate(t.values).value or 0.0))
    return [*ranked, *(trial for trial in trials if not trial.values)]


def _outcome(trials: Sequence[Trial], *, spent: bool, is_last: bool) -> Outcome | None:
    left = [trial for trial in trials if trial.status == "left"]
    if not left:
        return "failed"
    if len(left) == 1 and left[0].values:
        return "found"
    if spent:
        return "budget"
    if len({tuple(value.value for value in trial.values) for trial in left}) == 1:
        return "equal"
    return "undecided" if is_last else None


# -- runs ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tuner:
    """Measures the cases of a scenario; runs of an interrupted search are not measured again."""

    run_set: RunSet
    cases: dict[str, Case]
    metric: str
    observer: Observer
    measured: int = 0

    def __call__(self, setting: str, repeat: int) -> Measured:
        """Measure one run of a case."""
        planned = PlannedRun(self.cases[setting], repeat)
        is_stored = any(r.name == planned.name and not r.failure for r in self.run_set.runs)
        self.measured += not is_stored
        self.run_set, run = execute.run_more(self.run_set, planned, self.observer)
        return self._judged(run)

    def _judged(self, run: Run) -> Measured:
        value = summarize(run)[self.metric]
        if run.failure:
            return Measured(value, run.failure.message)
        validity = validity_of(run)
        return Measured(value, "", validity.reasons if validity.verdict == "invalid" else ())
