"""Run sets: the runs of one scenario, planned and measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmbench.runs.run import PlannedRun, Run
from llmbench.runs.search import Search
from llmbench.scenario.cases import Case


@dataclass(frozen=True, slots=True)
class Header:
    """The fields that run sets and profiles share: the folder, the scenario and the start.

    ``overrides`` are the ``key=value`` texts of the command line; ``began_at`` is ISO 8601 (UTC).
    """

    folder: Path
    name: str
    description: str
    began_at: str
    scenario_text: str
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSet(Header):
    """All runs of one scenario, and their plan.

    ``origins`` tells where each scenario key was set. ``runs`` has the stored runs, in the order of
    the plan, which is random. ``ordered`` has the names of cases in the scenario's order.
    ``search`` is the search for the best settings that chose the plan, if any did.
    """

    origins: dict[str, str]
    plan: tuple[PlannedRun, ...]
    runs: tuple[Run, ...] = ()
    ordered: tuple[str, ...] = ()
    search: Search | None = None

    @property
    def cases(self) -> dict[str, Case]:
        """The planned cases by name, in the scenario's order."""
        planned = {planned.case.name: planned.case for planned in reversed(self.plan)}
        names = dict.fromkeys((*self.ordered, *(planned.case.name for planned in self.plan)))
        return {name: planned[name] for name in names if name in planned}

    @property
    def missing(self) -> list[PlannedRun]:
        """The planned runs that failed or are not measured yet."""
        done = {run.name for run in self.runs if not run.failure}
        return [planned for planned in self.plan if planned.name not in done]

    def by_case(self) -> dict[str, list[Run]]:
        """Return the measured runs by case name, in the scenario's order."""
        runs: dict[str, list[Run]] = {name: [] for name in self.cases}
        for run in self.runs:
            if not run.failure:
                runs[run.case.name].append(run)
        return runs

    @property
    def failed(self) -> list[Run]:
        """The stored runs that failed."""
        return [run for run in self.runs if run.failure]
