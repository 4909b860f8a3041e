"""The result of a search for the best settings: a sentence, tables and the fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from llmbench.analysis.front import Better, Standing, standings
from llmbench.analysis.halving import Trial, Tuning, ranked, replay
from llmbench.analysis.metrics import METRICS, across
from llmbench.analysis.values import Estimate
from llmbench.report import table
from llmbench.report.table import Cell, Column, Table, show, show_interval
from llmbench.report.wording import listed
from llmbench.runs.caveats import Caveat, message_of_all
from llmbench.runs.run import Run
from llmbench.runs.run_set import RunSet
from llmbench.runs.search import Search

LATENCY, THROUGHPUT = "e2e_p50", "output_tokens_per_second"
ENERGY = "energy_joules_per_output_token"
ON_FRONT: Standing = "on the front"
NOTE = (
    "Below a figure is its t interval over runs, a 95 % interval from 8 runs on. Every comparison "
    "of two intervals can be wrong, and a search makes many. Dropped settings keep their runs."
)


def searched(stored: RunSet) -> Settings | None:
    """Return the settings of a run set's search; None without one, or if its metric is unknown."""
    search = stored.search
    return settings_of(stored, search) if search and search.metric in METRICS else None


def settings_of(stored: RunSet, search: Search) -> Settings:
    """Return the settings of a search with all their metrics."""
    tuning = replay(stored, search)
    by_case = stored.by_case()
    estimates = {case: across(runs) for case, runs in by_case.items()}
    points = {name: case.point for name, case in stored.cases.items()}
    known = [metric for metric in search.against if metric in METRICS]
    against = known or _default(search.metric, estimates)
    doubts = {case: messages for case, runs in by_case.items() if (messages := _doubts(runs))}
    return Settings(tuning, search, estimates, points, against, doubts)


def _doubts(runs: Sequence[Run]) -> list[str]:
    """Return what disturbed runs of a setting, also in their last attempt."""
    alike: dict[tuple[str, ...], list[Caveat]] = {}
    for caveat in (caveat for run in runs for caveat in run.contaminations):
        alike.setdefault(caveat.key, []).append(caveat)
    return [message_of_all(caveats) for caveats in alike.values()]


def _default(metric: str, estimates: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Return a latency (the throughput for a latency) and, if measured, energy per token."""
    first = THROUGHPUT if METRICS[metric].unit == "s" else LATENCY
    metered = any(of[ENERGY].value is not None for of in estimates.values())
    return [one for one in (first, *([ENERGY] if metered else [])) if one != metric]


@dataclass(frozen=True)
class Settings:
    """A search and the metrics of each of its settings; ``against`` are those of the fronts.

    ``doubts`` has the settings that were disturbed by other programs, with what it was.
    """

    tuning: Tuning
    search: Search
    estimates: Mapping[str, Mapping[str, Estimate]]
    points: Mapping[str, dict[str, Any]]
    against: Sequence[str]
    doubts: Mapping[str, Sequence[str]]

    @property
    def is_decided(self) -> bool:
        """Whether one setting, or one of equal ones, can be recommended.

        As everywhere, no claim rests on disturbed runs.
        """
        is_ended = self.tuning.outcome in ("found", "equal")
        is_limited = any(trial.limited for trial in self.tuning.left)
        return is_ended and not is_limited and not self.doubts

    @property
    def label(self) -> str:
        """The name of the metric."""
        return METRICS[self.tuning.objective.metric].label

    @property
    def conclusion(self) -> str:
        """What the search found, in a sentence."""
        left = self.tuning.left
        if not left:
            return f"No setting has a value of {self.label}."
        sentence = self._of_outcome(left)
        if reasons := dict.fromkeys(r for trial in left for r in trial.limited):
            sentence += f" llmbench itself did not keep up: {'; '.join(reasons)}."
        if self.doubts:
            sentence += " Other programs disturbed runs, so nothing is recommended."
        return sentence

    def _of_outcome(self, left: Sequence[Trial]) -> str:
        best, others = left[0], left[1:]
        figures = f"{best.setting}: {self.label} {self._figure(best)}"
        names = listed([trial.setting for trial in others]) if others else ""
        match self.tuning.outcome:
            case "found":
                return f"The best is {figures}."
            case "equal":
                return f"The remaining settings are equal in every repeat: {figures}; also {names}."
            case "undecided":
                return f"No significant difference between the best, {figures}, and {names}."
            case outcome:
                why = "The budget is spent" if outcome == "budget" else "The search was interrupted"
                return f"{why}. So far the best is {figures}; not dropped: {names}."

    def _figure(self, trial: Trial) -> str:
        estimate = self.tuning.objective.estimate(trial.values)
        if estimate.value is None:
            return "not measured"
        unit = METRICS[self.tuning.objective.metric].unit
        text = self._quantity(estimate.value)
        if estimate.low is None or estimate.high is None:
            return f"{text} ({len(trial.values)} runs, no interval)"
        if estimate.low == estimate.high:
            return f"{text} (all runs equal)"
        interval = show_interval(estimate.low, estimate.high, unit, " to ")
        return f"{text} ({estimate.interval_name} {interval})"

    def _quantity(self, value: float) -> str:
        unit = METRICS[self.tuning.objective.metric].unit
        text = show(value, unit)
        is_named = unit in table.SCALES or self.label.endswith(unit)
        return text if is_named else f"{text} {unit}"

    # -- the table ---------------------------------------------------------------------------------

    @property
    def ordered(self) -> list[Trial]:
        """The settings: those left, the best first, then the others, the last dropped first."""
        dropped = [trial for trial in self.tuning.trials if trial.status != "left"]
        by_value = ranked(dropped, self.tuning.objective)
        return [*self.tuning.left, *sorted(by_value, key=lambda trial: -(trial.rung or 0))]

    @property
    def table(self) -> Table:
        """One row per setting: its runs, the metric, the other metrics, and what became of it."""
        columns = (
            Column("setting", numeric=False),
            Column("runs"),
            Column(self.label),
            *(Column(METRICS[metric].label) for metric in self.against),
            Column("result", numeric=False),
        )
        rows = tuple(self._row(trial) for trial in self.ordered)
        return Table("Settings", columns, rows, NOTE)

    def _row(self, trial: Trial) -> tuple[Cell, ...]:
        metric = self.tuning.objective.metric
        estimate = self.tuning.objective.estimate(trial.values)
        return (
            Cell(trial.setting),
            table.count(len(trial.values)),
            table.of_value(estimate, METRICS[metric].unit),
            *(self._cell(trial, other) for other in self.against),
            Cell(self._result(trial), detail=self._beaten(trial)),
        )

    def _cell(self, trial: Trial, metric: str) -> Cell:
        estimate = self.estimates.get(trial.setting, {}).get(metric)
        if estimate is None:
            return table.missing("no run of this setting finished")
        return table.of_value(estimate, METRICS[metric].unit)

    def _result(self, trial: Trial) -> str:
        if trial.status == "left":
            return "best" if trial is self.tuning.left[0] else "left"
        if trial.status == "beaten":
            return f"beaten after rung {trial.rung}"
        *_, reason = trial.reason.splitlines()  # of a server's log, if it did not start
        return f"failed: {reason}" if trial.status == "failed" else f"unknown: {reason}"

    def _beaten(self, trial: Trial) -> str:
        """Return both intervals by which a setting was dropped; empty if it was not beaten."""
        if trial.beaten is None:
            return ""
        return f"{self._interval(trial.beaten.own)}; best {self._interval(trial.beaten.best)}"

    def _interval(self, estimate: Estimate) -> str:
        unit = METRICS[self.tuning.objective.metric].unit
        if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
            return show(estimate.value or 0.0, unit)
        return show_interval(estimate.low, estimate.high, unit)

    @property
    def rungs(self) -> Table:
        """One row per rung: its runs, and the settings left and dropped after it."""
        columns = (
            Column("rung", numeric=False),
            Column("runs of a setting"),
            Column("runs in all"),
            Column("settings left"),
            Column("dropped", numeric=False),
        )
        rows = tuple(
            (
                Cell(str(number)),
                table.count(rung.runs_each),
                table.count(rung.runs),
                table.count(rung.left),
                Cell("; ".join(rung.dropped) or "none"),
            )
            for number, rung in enumerate(self.tuning.rungs, start=1)
        )
        return Table("Rungs", columns, rows)

    @property
    def failures(self) -> dict[str, str]:
        """The settings whose runs failed, with the whole message."""
        return {t.setting: t.reason for t in self.tuning.trials if t.status == "failed"}

    # -- the fronts --------------------------------------------------------------------------------

    @cached_property
    def standings(self) -> dict[str, dict[str, Standing]]:
        """Where each setting stands by the metric and each of the others."""
        objective = self.tuning.objective
        return {
            metric: standings(
                {case: (of[objective.metric], of[metric]) for case, of in self.estimates.items()},
                (objective.better, better_of(metric)),
            )
            for metric in self.against
        }

    @property
    def fronts(self) -> list[str]:
        """The settings on each front, a sentence per metric."""
        return [self._front(metric, stands) for metric, stands in self.standings.items()]

    def _front(self, metric: str, stands: Mapping[str, Standing]) -> str:
        label = f"front  {self.label} against {METRICS[metric].label}"
        on_front = [case for case, standing in stands.items() if standing == ON_FRONT]
        undecided = [case for case, standing in stands.items() if standing == "undecided"]
        if not on_front:
            return f"{label}: unknown, no setting has both"
        more = f" (undecided: {'; '.join(undecided)})" if undecided else ""
        return f"{label}: {'; '.join(on_front)}{more}"

    # -- data --------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data, for JSON."""
        objective = self.tuning.objective
        direction = "maximize" if objective.better == "higher" else "minimize"
        return {
            "metric": objective.metric,
            "direction": direction,
            "outcome": self.tuning.outcome,
            "best": self.tuning.left[0].setting if self.is_decided else None,
            "conclusion": self.conclusion,
            "budget": self.search.budget,
            "rungs": [asdict(rung) for rung in self.tuning.rungs],
            "cost": {"runs": self.tuning.runs, "seconds": self.search.seconds},
            "settings": [self._setting(trial) for trial in self.ordered],
        }

    def _setting(self, trial: Trial) -> dict[str, Any]:
        estimate = self.tuning.objective.estimate(trial.values)
        return {
            "setting": trial.setting,
            "point": self.points.get(trial.setting, {}),
            "status": trial.status,
            "dropped_after_rung": trial.rung,
            "reason": trial.reason or None,
            "beaten_by": trial.beaten
            and {
                "setting": trial.beaten.by,
                "interval": _interval(trial.beaten.best),
                "own_interval": _interval(trial.beaten.own),
            },
            "harness": list(trial.limited),
            "doubts": list(self.doubts.get(trial.setting, ())),
            "runs": len(trial.values),
            **_interval(estimate),
            "against": {metric: self._against(trial, metric) for metric in self.against},
        }

    def _against(self, trial: Trial, metric: str) -> dict[str, Any]:
        nothing = Estimate.unavailable("no run of this setting finished")
        estimate = self.estimates.get(trial.setting, {}).get(metric, nothing)
        standing = self.standings[metric].get(trial.setting, "unknown")
        return {**_interval(estimate), "standing": standing}


def better_of(metric: str) -> Better:
    """Return the better direction of a metric; lower for one that has none."""
    return "higher" if METRICS[metric].better == "higher" else "lower"


def _interval(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "reason_missing": estimate.reason,
    }
