"""Successive halving: the best of several settings by one metric, from runs of each.

Every rung doubles the runs of the settings that are left. A setting is dropped only when its
interval lies entirely on the worse side of the best one's: a figure alone decides nothing. Source:
Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization,
2016; there, half of the settings are dropped after each rung by their figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal

from llmbench.analysis.front import Better, is_beaten
from llmbench.analysis.harness_validity import validity_of
from llmbench.analysis.metrics import METRICS, summarize
from llmbench.analysis.stats import MIN_PROCESSES
from llmbench.analysis.values import Estimate, Value, estimate
from llmbench.runs.run import Run
from llmbench.runs.run_set import RunSet
from llmbench.runs.search import Search
from llmbench.scenario.rng import stream

FIRST = MIN_PROCESSES  # runs of a setting in the first rung, which an interval needs
MOST = 24  # runs of a setting

Outcome = Literal["found", "equal", "undecided", "budget", "interrupted", "failed"]


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


def measured(run: Run, metric: str) -> Measured:
    """Return what a run says of its setting."""
    value = summarize(run)[metric]
    if run.failure:
        return Measured(value, run.failure.message)
    validity = validity_of(run)
    return Measured(value, "", validity.reasons if validity.verdict == "invalid" else ())


@dataclass(frozen=True, slots=True)
class Beaten:
    """Why a setting was dropped: its estimate then, and that of the best setting."""

    own: Estimate
    best: Estimate
    by: str


@dataclass(slots=True)
class Trial:
    """A setting and its runs so far; ``rung`` is the one after which it was dropped.

    ``reason`` is why it failed or has no value, ``beaten`` by what it was beaten.
    """

    setting: str
    runs: list[Measured] = field(default_factory=list)
    status: Literal["left", "beaten", "failed", "unknown"] = "left"
    rung: int | None = None
    reason: str = ""
    beaten: Beaten | None = None

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
class Rung:
    """A round of the search: the runs until its end, and what is left.

    ``runs_each`` is the number of runs of a setting that is left, ``runs`` that of all settings.
    """

    runs_each: int
    runs: int
    left: int
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tuning:
    """The trials of a search, and how it ended.

    ``found``: one setting is left. ``equal``: those left had the same value in every repeat.
    ``undecided``: they have MOST runs each, with intervals that overlap. ``budget``: it was spent
    before. ``interrupted``: the runs of the search are not complete. ``failed``: none is left.
    ``left`` has them, the best figure first.
    """

    outcome: Outcome
    trials: tuple[Trial, ...]
    objective: Objective
    rungs: tuple[Rung, ...]

    @property
    def left(self) -> list[Trial]:
        """The settings that are left, the best figure first."""
        return ranked([t for t in self.trials if t.status == "left"], self.objective)

    @property
    def runs(self) -> int:
        """The number of runs of all settings."""
        return sum(len(trial.runs) for trial in self.trials)


Measure = Callable[[str, int], Measured | None]


def search(
    measure: Measure,
    settings: Sequence[str],
    objective: Objective,
    *,
    seed: int = 0,
    first: int = FIRST,
    on_rung: Callable[[int, Sequence[Trial]], None] = lambda *_: None,
) -> Tuning:
    """Find the best setting; ``measure`` runs a setting once, for a repeat, or ends the search.

    The first rung has ``first`` runs of each setting, each further one as many again, up to MOST.
    The settings of a repeat are measured in a random order, drawn by ``seed``. ``measure`` returns
    None when no further run may begin.
    """
    trials = [Trial(setting) for setting in settings]
    done, rungs = 0, list[Rung]()
    while True:
        planned = first if not done else min(2 * done, MOST)
        number, spent = len(rungs) + 1, False
        for trial, repeat in _order(trials, range(done + 1, planned + 1), seed):
            run = measure(trial.setting, repeat)
            if run is None:
                spent = True
                break
            trial.runs.append(run)
            if run.failure:
                trial.drop("failed", number, run.failure)
        done = planned
        _drop_beaten(trials, objective, number)
        rungs.append(_rung(trials, number))
        on_rung(number, trials)
        if outcome := _outcome(trials, spent=spent, is_last=done >= MOST):
            return Tuning(outcome, tuple(trials), objective, tuple(rungs))


def _rung(trials: Sequence[Trial], number: int) -> Rung:
    runs = [len(trial.runs) for trial in trials]
    left = sum(trial.status == "left" for trial in trials)
    dropped = tuple(trial.setting for trial in trials if trial.rung == number)
    return Rung(max(runs, default=0), sum(runs), left, dropped)


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
    order = ranked(left, objective)
    for trial in order[1:]:
        best, own = (objective.estimate(one.values) for one in (order[0], trial))
        if is_beaten(own, best, objective.better):
            trial.drop("beaten", rung, "")
            trial.beaten = Beaten(own, best, order[0].setting)


def ranked(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Return settings with the best figure first, and those without a run at the end."""
    sign = -1.0 if objective.better == "higher" else 1.0
    with_runs = [trial for trial in trials if trial.values]
    known = sorted(with_runs, key=lambda t: sign * (objective.estimate(t.values).value or 0.0))
    return [*known, *(trial for trial in trials if not trial.values)]


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


def replay(run_set: RunSet, asked: Search) -> Tuning:
    """Repeat a stored search on its runs, which has the same result."""
    stored = {(run.case.name, run.repeat): run for run in run_set.runs}
    most, taken = math.inf if asked.runs is None else asked.runs, count()

    def measure(setting: str, repeat: int) -> Measured | None:
        run = stored.get((setting, repeat))
        return None if run is None or next(taken) >= most else measured(run, asked.metric)

    objective = Objective(asked.metric, asked.better)
    tuning = search(measure, asked.settings, objective, seed=asked.seed, first=asked.first)
    is_interrupted = tuning.outcome == "budget" and asked.runs is None
    return replace(tuning, outcome="interrupted") if is_interrupted else tuning
