"""The runs of a search for the best settings, which are kept in a run set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llmbench.analysis.halving import Measured, Objective, Trial, measured, search
from llmbench.campaign import execute
from llmbench.campaign.observer import Observer
from llmbench.runs import store
from llmbench.runs.run import PlannedRun
from llmbench.runs.run_set import RunSet
from llmbench.runs.search import Search
from llmbench.scenario.cases import Case


@dataclass(slots=True)
class Tuner:
    """Measures the cases of a scenario; runs of an interrupted search are not measured again.

    ``has_budget`` says whether another run may follow a number of runs. ``runs`` are all of the
    search, ``new`` those that were not stored before.
    """

    run_set: RunSet
    cases: dict[str, Case]
    metric: str
    observer: Observer
    has_budget: Callable[[int], bool]
    runs: int = 0
    new: int = 0

    def __call__(self, setting: str, repeat: int) -> Measured | None:
        """Measure one run of a case; None if the budget is spent."""
        if not self.has_budget(self.runs):
            return None
        planned = PlannedRun(self.cases[setting], repeat)
        is_stored = any(r.name == planned.name and not r.failure for r in self.run_set.runs)
        self.run_set, run = execute.run_more(self.run_set, planned, self.observer)
        self.runs, self.new = self.runs + 1, self.new + (not is_stored)
        return measured(run, self.metric)


def tune(tuner: Tuner, asked: Search, on_rung: Callable[[int, Sequence[Trial]], None]) -> Search:
    """Search the settings, and store the search with its runs, also if it is interrupted.

    Returns the search as it ended.
    """
    began, ended = time.monotonic(), asked
    tuner.run_set = store.with_search(tuner.run_set, asked)
    try:
        objective = Objective(asked.metric, asked.better)
        tuning = search(
            tuner, asked.settings, objective, seed=asked.seed, first=asked.first, on_rung=on_rung
        )
        ended = replace(asked, runs=tuning.runs)
    finally:
        ended = replace(ended, seconds=asked.seconds + time.monotonic() - began)
        store.with_search(tuner.run_set, ended)
    return ended
